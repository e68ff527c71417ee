"""All shards -> one dataset, with the paper's statistics and a report of what was dropped and why."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..data.statistics import InterfaceStatistics
from ..data.writing import quiet_encoders
from ..space.poses import STATE
from .settings import Settings
from .shards import DATASET, REPORT

ABOUT = "converted.json"  # in the dataset's meta folder
VECTORS = {"state": "observation.state", "action": "action"}


def merge(shards: Sequence[Path], settings: Settings, root: Path) -> dict[str, Any]:
    """Write the dataset to `root`, which must not exist; returns what is in meta/converted.json."""
    from lerobot.datasets.aggregate import aggregate_datasets

    reports = [json.loads((shard / REPORT).read_text(encoding="utf-8")) for shard in shards]
    dropped = {name: why for report in reports for name, why in report["dropped"].items()}
    roots = [shard / DATASET for shard, report in zip(shards, reports, strict=True) if report["episodes"]]
    if not roots:
        raise ValueError(
            f"no episode of {settings.source} can be used; the first: {next(iter(dropped.values()))}"
        )
    with quiet_encoders(), _quiet_merging():
        aggregate_datasets(["local/shard"] * len(roots), f"local/{root.name}", roots, root)
    write_statistics(root)
    episodes = [episode for report in reports for episode in report["episodes"]]
    about = {"settings": settings.plain(), "dropped": dropped, "episodes": episodes}
    (root / "meta" / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def write_statistics(root: Path) -> InterfaceStatistics:
    """Replace LeRobot's quantiles of states and actions, means over episodes, by those of all frames."""
    import pyarrow.parquet as pq
    from lerobot.datasets.io_utils import load_stats, write_stats

    statistics: InterfaceStatistics | None = None
    for file in sorted((root / "data").rglob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(columns=list(VECTORS.values())):
            states, actions = (np.stack(batch.column(key).to_numpy(False)) for key in VECTORS.values())
            statistics = statistics or InterfaceStatistics(states.shape[1] // STATE)
            statistics.add_actions(states, actions)
    assert statistics is not None, f"{root} holds no frames"
    stored = load_stats(root)
    assert stored is not None, f"{root} has no statistics"
    for part, quantiles in statistics.vectors().items():
        stored[VECTORS[part]].update({name: np.array(values) for name, values in quantiles.items()})
    # LeRobot's order is that of a set, another one in every process.
    write_stats({key: dict(sorted(stored[key].items())) for key in sorted(stored)}, root)
    return statistics


@contextmanager
def _quiet_merging() -> Iterator[None]:
    """LeRobot's own progress bars and log lines, one per shard and camera."""
    from lerobot.datasets import aggregate

    bar, level = aggregate.tqdm.tqdm, aggregate.logger.level
    aggregate.logger.setLevel(logging.ERROR)
    aggregate.tqdm.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        aggregate.logger.setLevel(level)
        aggregate.tqdm.tqdm = bar
