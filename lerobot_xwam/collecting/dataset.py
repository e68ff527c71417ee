"""Staged episodes -> LeRobotDataset v3."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lerobot_xwam.collecting.episode import Episode
from lerobot_xwam.collecting.settings import Settings
from lerobot_xwam.collecting.staging import read_episode
from lerobot_xwam.data.writing import create_dataset, quiet_encoders

LONGEST_EPISODE = 1024  # frames; the encoder's queue holds a whole one
ABOUT = "collected.json"  # in the dataset's meta folder: seeds and success


def assemble(
    staged: Path,
    episodes: Sequence[tuple[str, int]],
    settings: Settings,
    root: Path,
    name: str,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write the episodes in this order to `root`, which must not exist; returns its meta/collected.json."""
    listed = []
    with quiet_encoders():
        dataset = create_dataset(
            root, f"local/{name}", settings.fps, features(settings), "xwam_robosuite", LONGEST_EPISODE
        )
        try:
            for task, seed in tqdm(episodes, desc="writing the dataset", unit="episode"):
                episode = read_episode(staged, task, seed)
                _add(dataset, episode)
                listed.append(
                    {"task": task, "seed": seed, "frames": len(episode), "disturbed": episode.disturbed}
                )
        finally:
            dataset.finalize()
    about = {**about, "episodes": listed}
    (root / "meta" / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def _add(dataset: Any, episode: Episode) -> None:
    for step in range(len(episode)):
        frame: dict[str, Any] = {key: values[step] for key, values in episode.arrays.items()}
        dataset.add_frame({**frame, "task": episode.instruction})
    dataset.save_episode()


def features(settings: Settings) -> dict[str, Any]:
    """The dataset's features, as LeRobot describes them."""
    height, width = settings.size
    states, actions = settings.state_names, settings.action_names
    found: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": (len(states),), "names": states},
        "action": {"dtype": "float32", "shape": (len(actions),), "names": actions},
    }
    picture = {"dtype": "video", "names": ["height", "width", "channels"]}
    for name in settings.cameras:
        found[f"observation.images.{name}"] = {**picture, "shape": (height, width, 3)}
        if settings.depth:
            flag = {"info": {"is_depth_map": True}}
            found[f"observation.images.{name}_depth"] = {**picture, "shape": (height, width, 1), **flag}
        if settings.camera_matrices:
            for matrix, shape in (("intrinsics", (3, 3)), ("extrinsics", (4, 4))):
                key = f"observation.camera.{name}.{matrix}"
                found[key] = {"dtype": "float32", "shape": shape, "names": None}
    return found
