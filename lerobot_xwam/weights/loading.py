"""Reading weights exactly: no key may be missing, left over or of another shape without a word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

REPORTED = 8  # names per kind in an error message


def find_weights(source: str, revision: str | None = None, **hub: Any) -> Path:
    """The `model.safetensors` of a local folder or a Hub repo."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        path = folder / SAFETENSORS_SINGLE_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; a checkpoint folder holds config.json and {path.name}"
            )
        return path
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise FileNotFoundError(
            f"weights {source!r}: no such folder (seen from {Path.cwd()}), and no Hub id like NAME/REPO"
        )
    return Path(hf_hub_download(repo_id=source, filename=SAFETENSORS_SINGLE_FILE, revision=revision, **hub))


def load_exactly(module: nn.Module, path: Path, *, may_be_new: Iterable[str] = ()) -> list[str]:
    """Put the file's tensors in place of the module's parameters, which may live on the meta device.

    Keys starting with one of `may_be_new` keep the module's own values if the file has none of that shape;
    their names are returned. Everything else must match to the letter.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    optional = tuple(may_be_new)
    try:
        with safe_open(path, framework="pt") as file:
            held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            wrong = {name for name in wanted.keys() & held.keys() if held[name] != tuple(wanted[name])}
            new = sorted(name for name in (wanted.keys() - held.keys()) | wrong if name.startswith(optional))
            kept = wanted.keys() - set(new)
            _report(path, wanted, held, kept, wrong - set(new), optional)
            tensors = {name: file.get_tensor(name) for name in kept}
    except SafetensorError as error:
        raise ValueError(
            f"{path}: no readable safetensors file ({error}); it is corrupt or was cut off. "
            "Download or save it again"
        ) from error
    _assign(module, tensors)
    return new


def _report(
    path: Path,
    wanted: dict[str, torch.Size],
    held: dict[str, tuple[int, ...]],
    kept: set[str],
    wrong: set[str],
    optional: tuple[str, ...],
) -> None:
    missing = sorted(kept - held.keys())
    unexpected = sorted(
        name for name in held.keys() - wanted.keys() if not (optional and name.startswith(optional))
    )
    if not (missing or unexpected or wrong):
        return
    shapes = [f"{name} {held[name]} instead of {tuple(wanted[name])}" for name in sorted(wrong)]
    lines = [f"{path}: these weights do not fit the configuration (another preset or depth mode?)"]
    for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            more = f" ... and {len(names) - REPORTED} more" if len(names) > REPORTED else ""
            lines.append(f"  {len(names)} {kind}: {', '.join(names[:REPORTED])}{more}")
    lines.append("Use the config.json that was saved beside them, or set preset and sizes to match")
    raise ValueError("\n".join(lines))


def _assign(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    trainable = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    module.load_state_dict(tensors, strict=False, assign=True)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(trainable[name])
