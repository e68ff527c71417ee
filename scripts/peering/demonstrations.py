"""The same demonstrations seen as one task without depth: a small LeRobotDataset that links to the videos.

    python scripts/peering/demonstrations.py data/train --task lift --out data/lift-only

Why: one policy without language can only learn one task; LeRobot's policies would take depth for further
pictures; and LeRobot decodes every camera that a dataset declares. Statistics are of the task's episodes.
Train with --dataset.root=data/lift-only and the --dataset.episodes that this prints.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.io_utils import write_stats

from lerobot_xwam.features import is_depth
from lerobot_xwam.weights.output_folder import appearing_folder

ABOUT = "meta/collected.json"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="written by lerobot-xwam collect")
    parser.add_argument("--task", required=True, help="name in the simulator, e.g. lift")
    parser.add_argument("--most", type=int, help="episodes at most (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(write_view(options.dataset, options.task, options.out, options.most))


def write_view(source: Path, task: str, target: Path, most: int | None = None) -> list[int]:
    """-> the episodes to train on, as numbers of the original dataset"""
    source = source.resolve()
    episodes = episodes_of(source, task)[:most]
    info = json.loads((source / "meta/info.json").read_text(encoding="utf-8"))
    info["features"] = {key: value for key, value in info["features"].items() if not is_depth(value)}
    with appearing_folder(target) as folder:
        for name in ("data", "videos"):
            (folder / name).symlink_to(source / name)
        (folder / "meta").mkdir()
        for name in ("episodes", "tasks.parquet"):
            (folder / "meta" / name).symlink_to(source / "meta" / name)
        (folder / "meta/info.json").write_text(json.dumps(info, indent=4), encoding="utf-8")
        write_stats(aggregate_stats(statistics_of(source, episodes, list(info["features"]))), folder)
    return episodes


def episodes_of(source: Path, task: str) -> list[int]:
    """Those of this task, in the dataset's order."""
    path = source / ABOUT
    if not path.is_file():
        raise ValueError(f"{source}: no {ABOUT}; wanted a dataset of lerobot-xwam collect")
    held = json.loads(path.read_text(encoding="utf-8"))["episodes"]
    found = [number for number, episode in enumerate(held) if episode["task"] == task]
    if not found:
        there = ", ".join(sorted({episode["task"] for episode in held}))
        raise ValueError(f"{source}: no episode of {task!r}, only of {there}")
    return found


def statistics_of(source: Path, episodes: list[int], features: list[str]) -> list[dict[str, Any]]:
    """Of each episode: feature -> statistic -> values."""
    found: list[dict[str, Any]] = []
    for path in sorted((source / "meta/episodes").rglob("*.parquet")):
        for row in pq.read_table(path, filters=[("episode_index", "in", episodes)]).to_pylist():
            of_episode: dict[str, Any] = {}
            for column, value in row.items():
                kind, _, rest = column.partition("/")
                feature, _, name = rest.rpartition("/")
                if kind == "stats" and feature in features:
                    of_episode.setdefault(feature, {})[name] = np.array(value)
            found.append(of_episode)
    return found


if __name__ == "__main__":
    main()
