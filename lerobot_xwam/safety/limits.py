"""How far and how fast the actions of a dataset go, in the robot's units."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOM = 0.05  # beyond the dataset's range, as a share of it
HASTE = 1.25  # the largest change allowed, as a multiple of the largest one in the dataset


@dataclass(frozen=True)
class ActionLimits:
    low: Tensor  # A
    high: Tensor
    step: Tensor  # the largest change from one action to the next; infinite where none is known

    @classmethod
    def none(cls, dims: int) -> ActionLimits:
        infinite = torch.full((dims,), torch.inf)
        return cls(-infinite, infinite, infinite.clone())

    @classmethod
    def fit(cls, stats: dict[str, Any], largest_steps: Tensor | None) -> ActionLimits | None:
        """From one feature's statistics; None if they do not say how far it goes."""
        if "min" not in stats or "max" not in stats:
            return None
        low, high = (torch.as_tensor(stats[name], dtype=torch.float32).flatten() for name in ("min", "max"))
        if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
            return None
        room = ROOM * (high - low)
        step = torch.full_like(low, torch.inf) if largest_steps is None else HASTE * largest_steps.to(low)
        return cls(low - room, high + room, step)

    def state_dict(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state_dict(cls, tensors: dict[str, Tensor]) -> ActionLimits:
        return cls(**{field.name: tensors[field.name].float().cpu() for field in fields(cls)})


def largest_steps(root: Path, key: str) -> Tensor | None:
    """The largest |a[t + 1] - a[t]| of every dimension within the episodes of a LeRobotDataset. -> A

    None if its rows are not on this machine.
    """
    import pyarrow.parquet as pq

    largest: np.ndarray | None = None
    before: tuple[int, np.ndarray] | None = None  # episode and action of the row before
    for file in sorted((root / "data").rglob("*.parquet")):
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(columns=[key, "episode_index"]):
                rows = np.stack(batch.column(key).to_numpy(zero_copy_only=False)).astype(np.float64)
                rows = rows.reshape(len(rows), -1)
                episodes = np.asarray(batch.column("episode_index"))
                if before is not None:
                    rows = np.concatenate([before[1][None], rows])
                    episodes = np.concatenate([[before[0]], episodes])
                before = int(episodes[-1]), rows[-1]
                steps = np.abs(np.diff(rows, axis=0))[episodes[1:] == episodes[:-1]]
                if len(steps):
                    top = steps.max(axis=0)
                    largest = top if largest is None else np.maximum(largest, top)
    return None if largest is None else torch.as_tensor(largest, dtype=torch.float32)
