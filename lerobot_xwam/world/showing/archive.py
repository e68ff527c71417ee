"""Everything of an exhibition in one .npz: no pickles, all keys with their units in `KEYS`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .exhibition import Exhibition

KEYS = {
    "cameras": "V names",
    "futures": "N names",
    "seconds": "F; time of each frame; 0 is the moment of acting",
    "task": "the instruction",
    "rgb": "N V F H W 3; uint8, the network's pictures",
    "metres": "N V F H W; depth along the optical axis in metres; NaN: no reading",
    "states": "N F P; robot units",
    "actions": "N K A; robot units",
    "intrinsics": "V 3 3; pixels of these pictures, the first pixel's centre is (0.5, 0.5); NaN: not known",
    "poses": "N V F 4 4; room <- camera, metres, x right, y down, z forward; NaN: not known",
    "effectors": "N F arms 4 4; room <- end effector, metres; only if states tell them",
    "truth_...": "rgb, metres, states, actions, poses and effectors of what really happened: without N, and "
    "with fewer frames if the episode ended",
}


def arrays(exhibition: Exhibition) -> dict[str, NDArray]:
    """As `KEYS` says."""
    futures, truth = exhibition.futures, exhibition.truth
    unknown = np.full((3, 3), np.nan)
    intrinsics = [exhibition.intrinsics(camera) for camera in exhibition.cameras]
    held: dict[str, NDArray] = {
        "cameras": np.array(exhibition.cameras),
        "futures": np.array([each.name for each in futures]),
        "seconds": futures[0].times,
        "task": np.array(exhibition.task),
        "intrinsics": np.stack([unknown if each is None else each for each in intrinsics]),
    }
    per_future = [_of_footage(exhibition, index) for index in range(len(futures))]
    held |= {key: np.stack([each[key] for each in per_future]) for key in per_future[0]}
    if truth is not None:
        held |= {f"truth_{key}": values for key, values in _of_footage(exhibition, None).items()}
    return held


def _of_footage(exhibition: Exhibition, index: int | None) -> dict[str, NDArray]:
    footage = exhibition.truth if index is None else exhibition.futures[index]
    assert footage is not None
    unknown = np.full((footage.frames, 4, 4), np.nan)
    poses = [exhibition.camera_poses(footage, camera) for camera in exhibition.cameras]
    held: dict[str, NDArray] = {
        "rgb": footage.rgb,
        "states": footage.states,
        "actions": footage.actions,
        "poses": np.stack([unknown if each is None else each for each in poses]),
    }
    if footage.metres is not None:
        held["metres"] = footage.metres
    if (effectors := exhibition.effectors(footage)) is not None:
        held["effectors"] = effectors
    return held


def write_archive(path: Path, exhibition: Exhibition) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **cast(dict[str, Any], arrays(exhibition)))
