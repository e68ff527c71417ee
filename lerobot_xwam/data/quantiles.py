"""Quantiles of any number of rows in bounded memory: exact while they are few, then a sketch.

The sketch sorts full blocks, keeps every second row with twice the weight, and does so again level by level
(Karnin, Lang and Liberty 2016). Each dimension is sorted for itself. Whether the odd or the even rows stay is
drawn from a fixed seed: the same rows give the same numbers. Sketches of parts may be merged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lerobot_xwam.space.rotations import Array

BLOCK = 1 << 14  # rows kept per level; up to so many are exact. Ranks are then off by less than 1 / 1000


class QuantileSketch:
    def __init__(self, dims: int, block: int = BLOCK, seed: int = 0) -> None:
        if block < 2:
            raise ValueError(f"block={block}: a level holds two rows or more")
        self.dims, self.block, self.count = dims, block, 0
        self._levels: list[list[Array]] = [[]]  # level i: rows of weight 2^i
        self._coin = np.random.default_rng(seed)

    @property
    def exact(self) -> bool:
        return len(self._levels) == 1

    @property
    def rows_kept(self) -> int:
        return sum(len(rows) for level in self._levels for rows in level)

    def add(self, rows: ArrayLike) -> None:
        """# N dims"""
        rows = np.asarray(rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.dims:
            raise ValueError(f"rows of shape {rows.shape}: wanted N x {self.dims}")
        if not np.isfinite(rows).all():
            raise ValueError("NaN or infinite values have no quantiles: drop the episode they are in")
        for start in range(0, len(rows), self.block):
            part = rows[start : start + self.block]
            self.count += len(part)
            self._put(0, part.copy())

    def merge(self, other: QuantileSketch) -> None:
        if other.dims != self.dims:
            raise ValueError(f"a sketch of {other.dims} dims does not go with one of {self.dims}")
        self.count += other.count
        for i, level in enumerate(other._levels):
            for rows in level:
                self._put(i, rows.copy())

    def quantiles(self, levels: ArrayLike) -> Array:
        """Linear between neighbours, like numpy's.  # L -> L dims"""
        wanted = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if not self.count:
            raise ValueError("no rows yet, so no quantiles")
        values = np.concatenate([rows for level in self._levels for rows in level])
        if self.exact:
            return np.quantile(values, wanted, axis=0)
        weights = np.concatenate(
            [np.full(len(rows), 2.0**i) for i, level in enumerate(self._levels) for rows in level]
        )
        order = np.argsort(values, axis=0, kind="stable")
        result = np.empty((len(wanted), self.dims))
        for dim in range(self.dims):
            heavy = weights[order[:, dim]]
            middle = np.cumsum(heavy) - heavy / 2  # a row stands for its weight, spread around it
            result[:, dim] = np.interp(wanted * heavy.sum(), middle, values[order[:, dim], dim])
        return result

    def _put(self, level: int, rows: Array) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(rows)
        if sum(map(len, self._levels[level])) <= self.block:
            return
        merged = np.sort(np.concatenate(self._levels[level]), axis=0)
        even = len(merged) // 2 * 2
        self._levels[level] = [merged[even:]] if even < len(merged) else []  # no weight is lost
        self._put(level + 1, merged[int(self._coin.integers(2)) : even : 2].copy())
