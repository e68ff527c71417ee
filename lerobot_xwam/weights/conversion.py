"""A conversion: everything that will be written, known before the first byte is; and the writing of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import draccus
import torch
from lerobot.configs import PreTrainedConfig
from tqdm import tqdm

from ..configuration_xwam import XWAMConfig
from ..model.sizes import TransformerSizes
from ..model.transformer import XWAMTransformer
from .account import Account, listed
from .outgoing import Outgoing
from .output_folder import appearing_folder, refuse_existing, require_space
from .stored import FLOATS, Stored
from .streaming import Progress, write_checkpoint, write_safetensors

Shapes = dict[str, tuple[int, ...]]


@dataclass
class Conversion:
    """One folder: tensors, small texts and the account of how they came about. Paths are relative to it."""

    account: Account
    safetensors: dict[str, list[Outgoing]] = field(default_factory=dict)
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)  # .pt files, tensors as Outgoing
    texts: dict[str, str] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)  # small ones, copied as they are
    config: XWAMConfig | None = None
    statistics: dict[str, dict[str, list[float]]] | None = None  # of state and action, as in a dataset

    @property
    def nbytes(self) -> int:
        trees = [leaf for tree in self.checkpoints.values() for leaf in leaves(tree).values()]
        return sum(tensor.nbytes for file in [*self.safetensors.values(), trees] for tensor in file)


Finish = Callable[[Conversion, Path], None]


def carry_out(conversions: Sequence[tuple[Conversion, Path]], finish: Finish | None = None) -> None:
    """Write each into its folder. `finish` may add small files to a folder before it appears."""
    for _, folder in conversions:
        refuse_existing(folder)
    require_space({folder: conversion.nbytes for conversion, folder in conversions})
    total = sum(conversion.nbytes for conversion, _ in conversions)
    # A bar of a second or two is only noise.
    with tqdm(total=total, desc="converting", unit="B", unit_scale=True, delay=2, leave=False) as bar:
        for conversion, folder in conversions:
            with appearing_folder(folder) as partial:
                _write(conversion, partial, bar.update)
                if finish is not None:
                    finish(conversion, partial)


def _write(conversion: Conversion, folder: Path, progress: Progress) -> None:
    for name, tensors in conversion.safetensors.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(folder / name, tensors, progress)
    for name, tree in conversion.checkpoints.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(folder / name, tree, progress)
    texts = conversion.texts | {
        **({} if conversion.config is None else {"config.json": _config_text(conversion.config)}),
        "conversion.json": conversion.account.json(),
        "conversion.txt": conversion.account.text(),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for name, source in conversion.folders.items():
        copy_folder(source, folder / name)


def _config_text(config: XWAMConfig) -> str:
    """As LeRobot saves it, but for the device: converting needs no GPU, whoever loads it has one."""
    return json.dumps(draccus.encode(config, PreTrainedConfig) | {"device": "cuda"}, indent=4)


def copy_folder(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())


def leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """The tensors of a nested checkpoint, whether `Stored` or `Outgoing`, by their paths in it."""
    if isinstance(tree, Stored | Outgoing):
        return {name: tree}
    inside: dict[Any, Any] = {}
    if isinstance(tree, dict):
        inside = tree
    elif isinstance(tree, list | tuple):
        inside = dict(enumerate(tree))
    prefix = f"{name}." if name else ""
    return {
        path: leaf for key, value in inside.items() for path, leaf in leaves(value, f"{prefix}{key}").items()
    }


def wanted_shapes(sizes: TransformerSizes) -> Shapes:
    """Our name -> shape of every weight of a network, which is built without memory."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in XWAMTransformer(sizes).state_dict().items()}


def refuse_strange_dtypes(where: Any, tensors: dict[str, Stored]) -> None:
    strange = {name: tensor.dtype for name, tensor in tensors.items() if tensor.dtype not in FLOATS}
    if strange:
        raise ValueError(
            f"{where}: weights must be float32, float16 or bfloat16; {len(strange)} are not: "
            + listed(f"{name} ({str(dtype).removeprefix('torch.')})" for name, dtype in strange.items())
        )


def refuse_misfits(
    where: Any, wanted: Shapes, found: Mapping[str, Stored], theirs: Callable[[str], str | None]
) -> None:
    """Left-over, missing or misshapen weights of the source, in its own names. theirs: our name -> theirs"""
    refuse_unexplained(where, [str(theirs(name)) for name in found if name not in wanted])
    missing = [str(theirs(name)) for name in wanted if name not in found]
    wrong = [
        f"{theirs(name)} {list(found[name].shape)} instead of {list(wanted[name])}"
        for name in wanted
        if name in found and found[name].shape != wanted[name]
    ]
    kinds = (("missing", missing), ("of another shape than the others imply", wrong))
    if missing or wrong:
        lines = [f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds if names]
        raise ValueError(f"{where}: {'; '.join(lines)}. The file is damaged, or of another model")


def refuse_unexplained(where: Any, names: Sequence[str]) -> None:
    if names:
        raise ValueError(
            f"{where}: {len(names)} tensors are no weights of this model and have no known reason to be left "
            f"out: {listed(names)}. Is it a checkpoint of another model, or of a newer release?"
        )
