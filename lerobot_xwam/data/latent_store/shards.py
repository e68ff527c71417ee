"""One shard: the latents of some windows in all variants, complete or not there.

video   n K C T V h w      depth   n K C T V h w      valid   n K 1 T V h w (uint8)
check   n K                crc32 of what belongs to a window's variant, compared at every read
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...files import appearing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PARTS = ("video", "depth", "valid")  # in the order of the check sum

Variant = dict[str, Tensor]  # "video" and, with depth, "depth" and "valid", of one window in one variant


def write_shard(path: Path, identity: str, windows: list[list[Variant]]) -> None:
    """windows: of each window its variants. On the disk, not only on its way, when this returns."""
    names = [name for name in PARTS if name in windows[0][0]]
    tensors = {
        name: torch.stack([torch.stack([variant[name] for variant in window]) for window in windows])
        for name in names
    }
    tensors["check"] = torch.tensor([[_check(variant) for variant in window] for window in windows])
    content = save(tensors, metadata={"identity": identity})
    try:
        with appearing(path) as temporary, temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk of {path.parent} is full. All shards before {path.name} are stored and kept: free "
            "some space and run the same command again, it goes on from there"
        ) from error


class Shard:
    """An open shard, read slice by slice from the mapped file."""

    def __init__(self, path: Path, identity: str, shape: dict[str, tuple[int, ...]]) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt")
            held = {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}  # noqa: SIM118
            whose = (self._file.metadata() or {}).get("identity")
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: no such shard; {_REMEDY}") from error
        except SafetensorError as error:
            raise ValueError(f"{path}: corrupt or cut off ({error}); remove it, then {_REMEDY}") from error
        if whose != identity:
            raise ValueError(f"{path}: belongs to another cache; remove it, then {_REMEDY}")
        if held != shape:
            raise ValueError(f"{path}: holds {held}, wanted {shape}; remove it, then {_REMEDY}")

    def read(self, row: int, variant: int) -> Variant:
        held = {name: self._slice(name, row, variant) for name in PARTS if name in self._names}
        if _check(held) != int(self._slice("check", row, variant)):
            raise ValueError(
                f"{self.path}: window {row}, variant {variant} is not what was written (check sum); the disk "
                f"or a copy damaged it. Remove the file, then {_REMEDY}"
            )
        return held

    def verify(self, rows: int, variants: int) -> None:
        """Read everything against its check sum."""
        for row in range(rows):
            for variant in range(variants):
                self.read(row, variant)

    @property
    def _names(self) -> Any:
        return self._file.keys()

    def _slice(self, name: str, row: int, variant: int) -> Tensor:
        return self._file.get_slice(name)[row : row + 1, variant : variant + 1][0, 0]


_REMEDY = "run the same lerobot-xwam cache-latents command again: it makes what is missing"


def _check(variant: Variant) -> int:
    value = 0
    for name in PARTS:
        if name in variant:
            value = zlib.crc32(variant[name].contiguous().view(torch.uint8).numpy(), value)
    return value
