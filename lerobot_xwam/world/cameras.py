"""A rig of cameras: fixed to the room, or carried by an arm's end effector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lerobot_xwam.space.rotations import Array

from .grid import Grid, Size, unproject
from .rigid import FARTHEST, LONGEST_ARM, checked_intrinsics, checked_pose


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with OpenCV axes (x right, y down, z forward), checked when it is made."""

    intrinsics: Array  # 3 3, pixels of the recorded picture; the first pixel's centre is (0.5, 0.5)
    size: Size  # height and width of the recorded picture
    pose: Array  # 4 4, metres: room <- camera, or end effector <- camera (hand-eye) with an arm
    arm: int | None = None  # 0 is the left or only arm; None: the camera stands still

    def __post_init__(self) -> None:
        what, reach = ("pose", FARTHEST) if self.arm is None else ("hand_eye", LONGEST_ARM)
        object.__setattr__(self, "intrinsics", checked_intrinsics(self.intrinsics, self.size, "intrinsics"))
        object.__setattr__(self, "pose", checked_pose(self.pose, what, reach))

    def poses(self, effectors: Array | None, frames: int) -> Array:
        """Room <- camera at every frame. effectors: F arms 4 4 or None -> F 4 4"""
        if self.arm is None:
            return np.broadcast_to(self.pose, (frames, 4, 4))
        if effectors is None or effectors.shape[1] <= self.arm:
            arms = 0 if effectors is None else effectors.shape[1]
            raise ValueError(
                f"a wrist camera sits on arm {self.arm}, but the states tell the poses of {arms} arm(s): "
                "give the robot's URDF if its states are joints, or correct the camera's arm"
            )
        return effectors[:, self.arm] @ self.pose

    def points(self, metres: Array, grid: Grid) -> Array:
        """Points in this camera's frame from depth of the network's picture. H W -> H W 3"""
        return unproject(metres, grid.points(self.size, depth=True), self.intrinsics)


@dataclass(frozen=True)
class Rig:
    """The cameras whose place is known, by feature name, and how each was found."""

    cameras: Mapping[str, Camera]
    notes: Mapping[str, str] = field(default_factory=dict)  # camera -> how it was found, with residual

    def split(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """-> (names with a calibration, names without). None at all is an error."""
        known = [name for name in names if name in self.cameras]
        if not known:
            raise ValueError(
                f"no camera of {list(names)} has a calibration; there are {sorted(self.cameras) or 'none'}. "
                "Record observation.camera.<name>.intrinsics and .extrinsics, or give a calibration file"
            )
        return known, [name for name in names if name not in self.cameras]

    def static(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.cameras and self.cameras[name].arm is None]

    def wrist(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self.cameras and self.cameras[name].arm is not None]
