"""An episode as any source gives it: vectors in the universal interface, pictures one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..space.poses import ACTION, STATE
from ..space.rotations import Array

SIDES = ("left", "right")
STATE_NAMES = ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper")
ACTION_NAMES = ("dx", "dy", "dz", "drx", "dry", "drz", "dgripper")
Pictures = dict[str, NDArray[Any]]  # camera -> H W 3 uint8; <camera>_depth -> H W 1 float32 metres


@dataclass(frozen=True)
class SourceEpisode:
    name: str
    fps: float
    states: Array  # T 8|16
    actions: Array  # T 7|14
    instructions: tuple[str, ...]
    cameras: tuple[str, ...]
    depth_cameras: tuple[str, ...]
    size: tuple[int, int]  # of all pictures
    pictures: Callable[[], Iterator[Pictures]]

    def features(self) -> dict[str, Any]:
        """As LeRobot describes them."""
        height, width = self.size
        sides = SIDES[: self.states.shape[1] // STATE]
        assert self.actions.shape[1] == ACTION * len(sides)
        states = [f"{side}_{name}" for side in sides for name in STATE_NAMES]
        actions = [f"{side}_{name}" for side in sides for name in ACTION_NAMES]
        found: dict[str, Any] = {
            "observation.state": {"dtype": "float32", "shape": (len(states),), "names": states},
            "action": {"dtype": "float32", "shape": (len(actions),), "names": actions},
        }
        picture = {"dtype": "video", "names": ["height", "width", "channels"]}
        for camera in self.cameras:
            found[f"observation.images.{camera}"] = {**picture, "shape": (height, width, 3)}
            if camera in self.depth_cameras:
                flag = {"info": {"is_depth_map": True}}
                depth = {**picture, "shape": (height, width, 1), **flag}
                found[f"observation.images.{camera}_depth"] = depth
        return found

    def frames(self, task: str) -> Iterator[dict[str, Any]]:
        """As LeRobot adds them."""
        states, actions = self.states.astype(np.float32), self.actions.astype(np.float32)
        for state, action, pictures in zip(states, actions, self.pictures(), strict=True):
            images = {f"observation.images.{name}": picture for name, picture in pictures.items()}
            yield {"observation.state": state, "action": action, "task": task, **images}
