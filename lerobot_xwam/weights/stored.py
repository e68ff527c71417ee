"""Tensors that lie in files: where, of what kind, and how to read them piece by piece.

Pieces are read with plain reads at offsets, never by mapping the file: what is in memory is one piece,
whatever limits the machine sets, and a file that ends too early is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

PIECE = 64 * 2**20  # bytes in memory at a time; a multiple of every element size

# What weights may be stored as. Quantised or integer files are other checkpoints than we can explain.
FLOATS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    path: Path
    offset: int  # of its first element, in bytes
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None = None  # in elements; None: row after row without gaps

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def span(self) -> int:
        """Bytes of the file between its first and behind its last element."""
        if self.stride is None or not prod(self.shape):
            return self.nbytes
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return (last + 1) * self.dtype.itemsize

    def pieces(self) -> Iterator[memoryview]:
        """Its bytes, row after row. A piece is overwritten by the next one: use it before asking for more."""
        if self.stride is None:
            yield from _read(self.path, self.offset, self.nbytes)
        elif self.nbytes:
            yield bytes_of(self.read())

    def on(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
        """The whole tensor on a device and in a dtype; the host holds one piece of it at a time."""
        target = torch.empty(self.shape, dtype=dtype or self.dtype, device=device)
        flat, start = target.view(-1), 0
        for piece in self.pieces():
            values = torch.frombuffer(piece, dtype=self.dtype)
            flat[start : start + len(values)].copy_(values)
            start += len(values)
        return target

    def read(self) -> Tensor:
        """The whole tensor, in memory of its own."""
        buffer = bytearray(self.span)
        position = 0
        for piece in _read(self.path, self.offset, self.span):
            buffer[position : position + len(piece)] = piece
            position += len(piece)
        if not buffer:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(buffer, dtype=self.dtype)
        if self.stride is None:
            return flat.view(self.shape)
        return flat.as_strided(self.shape, self.stride).contiguous()


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, of any dtype."""
    return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())


def rows_without_gaps(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    wanted = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != wanted:
            return False
        wanted *= max(size, 1)
    return True


def _read(path: Path, offset: int, nbytes: int) -> Iterator[memoryview]:
    if not nbytes:
        return
    buffer = memoryview(bytearray(min(PIECE, nbytes)))
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while nbytes:
            piece = buffer[: min(len(buffer), nbytes)]
            filled = 0
            while filled < len(piece):
                got = file.readinto(piece[filled:])
                if not got:
                    raise ValueError(f"{path}: ends in the middle of a tensor; it was cut off while we read")
                filled += got
            yield piece
            nbytes -= len(piece)
