"""How rough a motion is, and where: at the borders of chunks, and within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drive:
    """What one episode sent to the robot."""

    actions: Floats  # T A, each dimension in units of its range in the demonstrations
    borders: list[int]  # the first action of every chunk but the first
    gaps: int  # ticks without an action


@dataclass(frozen=True)
class Roughness:
    """Second differences a[t - 1] - 2 a[t] + a[t + 1]."""

    largest: float
    rms: float

    @classmethod
    def of(cls, bends: Floats) -> Roughness:
        return cls(float(np.abs(bends).max()), float(np.sqrt(np.square(bends).mean())))

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def at_borders(drives: Sequence[Drive]) -> Roughness:
    """Of the two triples of actions that a border cuts."""
    return Roughness.of(np.concatenate([_bends(drive)[_cut(drive)] for drive in drives]))


def within_chunks(drives: Sequence[Drive]) -> Roughness:
    """Of all others: how rough the chunks are themselves."""
    return Roughness.of(np.concatenate([_bends(drive)[~_cut(drive)] for drive in drives]))


def anywhere(drives: Sequence[Drive]) -> Roughness:
    """Of all: what has no borders."""
    return Roughness.of(np.concatenate([_bends(drive) for drive in drives]))


def _bends(drive: Drive) -> Floats:
    """bends[i] is about actions[i : i + 3].  # T-2 A"""
    return np.diff(drive.actions, n=2, axis=0)


def _cut(drive: Drive) -> NDArray[np.bool_]:
    cut = np.zeros(len(drive.actions) - 2, dtype=bool)
    for border in drive.borders:
        cut[max(border - 2, 0) : border] = True
    return cut
