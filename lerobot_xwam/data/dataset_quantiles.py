"""The 1 % and 99 % quantiles of a whole LeRobotDataset.

LeRobot 0.6.1 averages the quantiles of its episodes. Where an episode shows only a part of the range (an arm
that rests, a cube elsewhere) that average lies far inside of it, and values of 30 instead of 1 would train.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .quantiles import QuantileSketch

logger = logging.getLogger(__name__)

LEVELS = {"q01": 0.01, "q99": 0.99}


def with_quantiles_of_all_frames(
    stats: dict[str, dict[str, Any]], root: Path, keys: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """`stats` with the quantiles of these vectors counted over all rows, if they are on this machine."""
    import pyarrow.parquet as pq

    files = sorted((root / "data").rglob("*.parquet"))
    if not files:
        logger.warning(
            "X-WAM: no data files in %s, so the quantiles are LeRobot's averages over episodes", root
        )
        return stats
    sketches: dict[str, QuantileSketch] = {}
    for file in tqdm(files, desc="quantiles of states and actions", unit="file", delay=2):
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(columns=list(keys)):
                for key in keys:
                    rows = np.stack(batch.column(key).to_numpy(zero_copy_only=False)).astype(np.float64)
                    rows = rows.reshape(len(rows), -1)
                    sketches.setdefault(key, QuantileSketch(rows.shape[1])).add(rows)
    result = dict(stats)
    for key, sketch in sketches.items():
        low_high = sketch.quantiles(list(LEVELS.values()))
        result[key] = {**stats.get(key, {}), **dict(zip(LEVELS, low_high, strict=True))}
    return result
