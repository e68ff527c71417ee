"""Where the cameras are, found in what datasets and environments record of them at every frame.

A camera whose pose does not change stands still. One that moves with an arm has a hand-eye matrix, estimated
as the mean of T_ee^-1 T_camera; how far the frames stray from it is the residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lerobot_xwam.space.rotations import Array

from .calibration import PREFIX
from .cameras import Camera, Rig
from .grid import Size
from .rigid import FARTHEST, LONGEST_ARM, checked_pose, distance, inverse, mean_pose

STILL = 0.002  # metres (and rad) that a static camera may seem to move: sensors shake
LOOSE = 0.02  # metres (and rad) of a hand-eye residual beyond which the camera does not sit on this arm
MATRICES = "observation.camera.{name}.{matrix}"


@dataclass(frozen=True)
class Seen:
    """What was recorded of one camera over some frames."""

    size: Size
    intrinsics: Array  # F 3 3
    poses: Array  # F 4 4, room <- camera


def find_rig(seen: Mapping[str, Seen], effectors: Array | None) -> tuple[Rig, dict[str, str]]:
    """-> (the rig, why a camera is not in it). effectors: F arms 4 4, or None if states tell no poses."""
    cameras, notes, refused = {}, {}, {}
    for name, camera in seen.items():
        try:
            cameras[name], notes[name] = _place(camera, effectors)
        except ValueError as error:
            refused[name] = str(error)
    return Rig(cameras, notes), refused


def _place(seen: Seen, effectors: Array | None) -> tuple[Camera, str]:
    if np.ptp(seen.intrinsics, axis=0).max() > 1e-3 * max(seen.size):
        raise ValueError("its intrinsics change between frames: cameras that zoom are not supported")
    poses = np.stack([checked_pose(pose, "extrinsics", FARTHEST) for pose in seen.poses])
    still = mean_pose(poses)
    if (stray := _stray(poses, still)) <= STILL:
        return Camera(seen.intrinsics[0], seen.size, still), f"stands still, within {1000 * stray:.2g} mm"
    if effectors is None:
        raise ValueError("it moves, and the states tell no end-effector poses: give the robot's URDF")
    found = [_on_arm(poses, effectors[:, arm]) for arm in range(effectors.shape[1])]
    arm = int(np.argmin([residual for _, residual in found]))
    hand_eye, residual = found[arm]
    if residual > LOOSE:
        raise ValueError(
            f"it moves, but with no arm: the best hand-eye matrix (arm {arm}) leaves "
            f"{1000 * residual:.3g} mm (more than {1000 * LOOSE:g}). Are camera and state "
            "poses in the same frame and unit?"
        )
    camera = Camera(seen.intrinsics[0], seen.size, checked_pose(hand_eye, "hand_eye", LONGEST_ARM), arm)
    return camera, f"on arm {arm}, hand-eye from {len(poses)} frames within {1000 * residual:.2g} mm"


def _on_arm(poses: Array, effector: Array) -> tuple[Array, float]:
    relative = inverse(effector) @ poses  # F 4 4
    hand_eye = mean_pose(relative)
    return hand_eye, _stray(relative, hand_eye)


def _stray(poses: Array, middle: Array) -> float:
    """Worst distance in metres; a radian counts as a metre."""
    metres, degrees = distance(poses, middle)
    return float(np.maximum(metres, np.radians(degrees)).max())


def seen_in_rows(
    rows: Mapping[str, Any], sizes: Mapping[str, Size], cameras: Sequence[str]
) -> dict[str, Seen]:
    """What dataset columns or stacked observations hold of the cameras: key -> F 3 3 or F 4 4.

    cameras and sizes go by feature name (observation.images.front); a camera without matrices is left out.
    """
    found = {}
    for camera in cameras:
        name = camera.removeprefix(PREFIX)
        keys = [MATRICES.format(name=name, matrix=matrix) for matrix in ("intrinsics", "extrinsics")]
        if all(key in rows for key in keys):
            k, poses = (np.asarray(rows[key], dtype=np.float64) for key in keys)
            found[camera] = Seen(sizes[camera], k.reshape(-1, 3, 3), poses.reshape(-1, 4, 4))
    return found
