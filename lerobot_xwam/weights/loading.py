"""Reading weights exactly: no key may be missing, left over or of another shape without a word.

A tensor goes from the file to its device in its dtype at once, piece by piece: the host never holds a second
copy of the weights, and of what is not wanted nothing is read. Pieces are read, not mapped: a mapping would
count as memory, and would break if the file were replaced while the policy lives.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn
from tqdm import tqdm

from .safetensors_index import read_file
from .stored import Stored

REPORTED = 8  # names per kind in an error message
LONG = 2**30  # bytes that take long enough to show a progress bar

logger = logging.getLogger(__name__)


def find_weights(
    source: str, revision: str | None = None, *, name: str = SAFETENSORS_SINGLE_FILE, **hub: Any
) -> Path:
    """The `model.safetensors`, or what else is named, of a local folder or a Hub repo."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        path = folder / name
        if not path.is_file():
            average = "" if name == SAFETENSORS_SINGLE_FILE else ", and an average after --policy.ema_decay"
            raise FileNotFoundError(
                f"{path}: no such file; a checkpoint folder holds config.json and {SAFETENSORS_SINGLE_FILE}"
                f"{average}"
            )
        return path
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise FileNotFoundError(
            f"weights {source!r}: no such folder (seen from {Path.cwd()}), and no Hub id like NAME/REPO"
        )
    return Path(hf_hub_download(repo_id=source, filename=name, revision=revision, **hub))


def load_exactly(
    module: nn.Module,
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    may_be_new: Iterable[str] = (),
    may_stay: Iterable[str] = (),
) -> list[str]:
    """Put the file's tensors in place of the module's parameters, which may live on the meta device.

    They arrive on `device`, in `dtype` (None: as they are stored). Keys starting with one of `may_be_new`
    keep the module's own values if the file has none of that shape; their names are returned. Keys starting
    with one of `may_stay` stay unread in the file if the module has no place for them. Everything else must
    match to the letter.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    held = _read_table(path)
    stays = {name for name in held.keys() - wanted.keys() if name.startswith(tuple(may_stay))}
    optional = tuple(may_be_new)
    wrong = {name for name in wanted.keys() & held.keys() if held[name].shape != wanted[name]}
    new = sorted(name for name in (wanted.keys() - held.keys()) | wrong if name.startswith(optional))
    kept = wanted.keys() - set(new)
    _report(path, wanted, {n: t.shape for n, t in held.items() if n not in stays}, kept, wrong, optional)
    if stays:
        unread = sum(held[name].nbytes for name in stays)
        logger.info(
            "X-WAM: %d weights (%.2f GB) of %s are not wanted here and stay unread",
            len(stays),
            unread / 1e9,
            path,
        )
    _fill(module, {name: stored for name, stored in held.items() if name in kept}, device, dtype)
    return new


def _read_table(path: Path) -> dict[str, Stored]:
    try:
        return read_file(path)
    except ValueError as error:
        raise ValueError(
            f"{path}: no readable safetensors file ({error}); it is corrupt or was cut off. "
            "Download or save it again"
        ) from error


def _report(
    path: Path,
    wanted: Mapping[str, tuple[int, ...]],
    held: Mapping[str, tuple[int, ...]],
    kept: set[str],
    wrong: set[str],
    optional: tuple[str, ...],
) -> None:
    missing, misshapen = sorted(kept - held.keys()), sorted(wrong & kept)
    unexpected = sorted(
        name for name in held.keys() - wanted.keys() if not (optional and name.startswith(optional))
    )
    if not (missing or unexpected or misshapen):
        return
    shapes = [f"{name} {held[name]} instead of {wanted[name]}" for name in misshapen]
    lines = [f"{path}: these weights do not fit the configuration (another preset or depth mode?)"]
    for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            more = f" ... and {len(names) - REPORTED} more" if len(names) > REPORTED else ""
            lines.append(f"  {len(names)} {kind}: {', '.join(names[:REPORTED])}{more}")
    lines.append("Use the config.json that was saved beside them, or set preset and sizes to match")
    raise ValueError("\n".join(lines))


def _fill(
    module: nn.Module,
    stored: Mapping[str, Stored],
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> None:
    """Read in the file's order; every tensor takes its place before the next one is read."""
    places = _places(module)
    nbytes = sum(tensor.nbytes for tensor in stored.values())
    with tqdm(
        total=nbytes, desc="loading weights", unit="B", unit_scale=True, leave=False, disable=nbytes < LONG
    ) as bar:
        for name, tensor in stored.items():
            places[name](tensor.on(device, dtype))
            bar.update(tensor.nbytes)


def _places(module: nn.Module) -> dict[str, Callable[[Tensor], None]]:
    """state_dict key -> what puts a tensor there."""

    def place(owner: nn.Module, name: str, old: Tensor) -> Callable[[Tensor], None]:
        def put(tensor: Tensor) -> None:
            if isinstance(old, nn.Parameter):
                owner.register_parameter(name, nn.Parameter(tensor, requires_grad=old.requires_grad))
            else:
                owner.register_buffer(name, tensor)

        return put

    places = {}
    for prefix, owner in module.named_modules():
        dot = f"{prefix}." if prefix else ""
        for name, old in [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]:
            places[dot + name] = place(owner, name, old)
    return places
