"""Tensors that will be written: their shapes are known at once, their bytes are made when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from .stored import Stored, bytes_of

STD = 0.02  # of new weights; the same as model.transformer.init_small


@dataclass(frozen=True)
class Outgoing:
    """A tensor on its way into a file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[memoryview]]  # its bytes in order; a piece is overwritten by the next one

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def carried(name: str, stored: Stored, dtype: torch.dtype | None = None) -> Outgoing:
    """A stored tensor, bit by bit, or converted to another dtype piece by piece."""
    if dtype is None or dtype == stored.dtype:
        return Outgoing(name, stored.dtype, stored.shape, stored.pieces)

    def pieces() -> Iterator[memoryview]:
        for piece in stored.pieces():
            values = torch.frombuffer(piece, dtype=stored.dtype)
            converted = values.to(dtype)
            if not torch.equal(torch.isfinite(converted), torch.isfinite(values)):
                raise ValueError(
                    f"{name}: has values up to {values.abs().max():.3g}, more than {dtype} can hold; "
                    "use --dtype bfloat16 or float32"
                )
            yield bytes_of(converted)

    return Outgoing(name, dtype, stored.shape, pieces)


def computed(name: str, dtype: torch.dtype, shape: tuple[int, ...], make: Callable[[], Tensor]) -> Outgoing:
    """A tensor that is small enough to be made in one go."""

    def pieces() -> Iterator[memoryview]:
        tensor = make().to(dtype)
        assert tuple(tensor.shape) == shape, (name, tensor.shape, shape)
        yield bytes_of(tensor)

    return Outgoing(name, dtype, shape, pieces)


def fresh(name: str, dtype: torch.dtype, shape: tuple[int, ...], seed: int) -> Outgoing:
    """A new weight: biases 0, all else N(0, 0.02)."""
    if name.endswith("bias"):
        return computed(name, dtype, shape, lambda: torch.zeros(shape))
    return computed(name, dtype, shape, lambda: small_noise(name, shape, seed))


def fitted(
    name: str,
    stored: Stored,
    shape: tuple[int, ...],
    dtype: torch.dtype | None,
    noise_seed: int | None = None,
) -> Outgoing:
    """A stored tensor cut or widened to a shape. What is new is 0, or noise where a seed for it is given."""

    def make() -> Tensor:
        new = torch.zeros(shape) if noise_seed is None else small_noise(name, shape, noise_seed)
        both = tuple(slice(0, min(ours, theirs)) for ours, theirs in zip(shape, stored.shape, strict=True))
        new[both] = stored.read()[both].float()
        return new

    return computed(name, dtype or stored.dtype, shape, make)


def small_noise(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """N(0, 0.02). Seed and name decide it, so that it does not depend on the order of writing."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return STD * torch.randn(shape, generator=generator)
