"""All shards -> one dataset, with the paper's statistics and a report of what was dropped and why."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..data.statistics import InterfaceStatistics
from ..data.writing import quiet_encoders
from ..space.poses import STATE
from .filters import resampling, summary
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
    info = json.loads((roots[0] / "meta" / "info.json").read_text(encoding="utf-8"))
    with quiet_encoders(), _quiet_merging(), _matrices_merged():
        aggregate_datasets(
            ["local/shard"] * len(roots),
            f"local/{root.name}",
            roots,
            root,
            concatenate_data=not _matrices(info["features"]),
        )
    write_statistics(root)
    episodes = [episode for report in reports for episode in report["episodes"]]
    filtered = [reason for report in reports for reason in report["filtered"].values()]
    about = {
        "settings": settings.plain(),
        "filters": summary(settings, episodes, filtered),
        "resampling": resampling(episodes, info["fps"], _picture_size(info["features"])),
        "dropped": dropped,
        "episodes": episodes,
    }
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


def _picture_size(features: dict[str, Any]) -> tuple[int, int]:
    height, width, _ = next(one["shape"] for one in features.values() if one["dtype"] == "video")
    return height, width


def _matrices(features: dict[str, Any]) -> list[str]:
    return [key for key, one in features.items() if one["dtype"] != "video" and len(one["shape"]) == 2]


@contextmanager
def _matrices_merged() -> Iterator[None]:
    """LeRobot 0.6.1 copies rows with matrices only the way it copies rows that hold images, and cannot put
    two files of them into one: such a dataset has a data file for each shard.
    """
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

    as_it_was = LeRobotDatasetMetadata.image_keys

    def with_matrices(meta: Any) -> list[str]:
        return as_it_was.fget(meta) + _matrices(meta.features)

    LeRobotDatasetMetadata.image_keys = property(with_matrices)
    try:
        yield
    finally:
        LeRobotDatasetMetadata.image_keys = as_it_was


@contextmanager
def _quiet_merging() -> Iterator[None]:
    """LeRobot's own progress bars and log lines, one per shard and camera."""
    from lerobot.datasets import aggregate, io_utils

    bar, level, suppress = aggregate.tqdm.tqdm, aggregate.logger.level, io_utils.SuppressProgressBars
    aggregate.logger.setLevel(logging.ERROR)
    aggregate.tqdm.tqdm = lambda items, **_: items
    io_utils.SuppressProgressBars = nullcontext  # it would show again, for good, what is hidden already
    try:
        yield
    finally:
        io_utils.SuppressProgressBars = suppress
        aggregate.logger.setLevel(level)
        aggregate.tqdm.tqdm = bar
