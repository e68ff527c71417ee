"""Where the cameras are. Static ones are fixed to the room, wrist cameras move with the tool."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lerobot_xwam.envs.tabletop.geometry import look_at
from lerobot_xwam.envs.tabletop.render import Camera
from lerobot_xwam.envs.tabletop.tasks import Task
from lerobot_xwam.envs.tabletop.world import World
from lerobot_xwam.space.rotations import Array

MAX_CAMERAS = 8
UP, AHEAD = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])

# name: (eye, looked-at point, up, vertical field of view in degrees)
STATIC: dict[str, tuple[Array, Array, Array, float]] = {
    "front": (np.array([0.78, 0.0, 0.42]), np.array([0.0, 0.0, 0.11]), UP, 36.0),
    "left": (np.array([0.05, 0.80, 0.40]), np.array([0.0, 0.0, 0.11]), UP, 36.0),
    "right": (np.array([0.05, -0.80, 0.40]), np.array([0.0, 0.0, 0.11]), UP, 36.0),
    "top": (np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.0]), AHEAD, 36.0),
    "back": (np.array([-0.44, 0.64, 0.78]), np.array([0.02, 0.0, 0.04]), UP, 34.0),
    "high": (np.array([0.60, 0.50, 0.72]), np.array([0.0, 0.0, 0.06]), UP, 33.0),
    "low": (np.array([0.66, -0.42, 0.15]), np.array([0.0, 0.0, 0.09]), UP, 35.0),
}

# Tool frame <- wrist camera: in front of the hand, looking down and back at the fingertips.
HAND_EYE = look_at(np.array([0.10, 0.0, 0.105]), np.array([0.03, 0.0, -0.02]), np.array([1.0, 0.0, 0.0]))
WRIST_FIELD = 78.0


def wrist_names(task: Task) -> dict[str, int]:
    """Names of the wrist cameras and the arm each one sits on."""
    if len(task.arms) == 1:
        return {"wrist": 0}
    return {f"wrist_{side}": index for index, side in enumerate(task.arms)}


def check_cameras(names: Sequence[str], task: Task) -> tuple[str, ...]:
    """The names as a tuple, if they are 1 to 8 different cameras that this task has."""
    known = [*STATIC, *wrist_names(task)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"cameras: got {unknown}, but task {task.name!r} has {known}; choose among these.")
    if not 1 <= len(names) <= MAX_CAMERAS or len(set(names)) != len(names):
        raise ValueError(
            f"cameras: got {list(names)}, wanted 1 to {MAX_CAMERAS} different names out of {known}."
        )
    return tuple(names)


def intrinsics(field_of_view: float, height: int, width: int) -> Array:
    """Pinhole matrix with square pixels and the axis through the picture's middle.  # 3 3"""
    focal = height / (2.0 * np.tan(np.radians(field_of_view) / 2.0))
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def camera(name: str, world: World, size: tuple[int, int]) -> Camera:
    """The camera of that name as it stands now; size is (height, width)."""
    height, width = size
    wrists = wrist_names(world.task)
    if name in wrists:
        pose = world.arms[wrists[name]].tool_pose @ HAND_EYE
        return Camera(height, width, intrinsics(WRIST_FIELD, height, width), pose)
    eye, target, up, field_of_view = STATIC[name]
    return Camera(height, width, intrinsics(field_of_view, height, width), look_at(eye, target, up))
