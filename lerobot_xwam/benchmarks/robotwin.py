"""RoboTwin 2.0's two arms <-> the universal interface.

RoboTwin's poses are x y z and quaternion w x y z in a world whose y axis points away from the robot. Ours
have the world turned by -90 degrees about z, so that x points away, and the tool's z where RoboTwin has x.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..space.poses import STATE, FrameChange, arms, integrate_chunk
from ..space.rotations import Array, rotation_z

CAMERAS = ("head_camera", "left_camera", "right_camera")
TOOL = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
FROM_ROBOTWIN = FrameChange(world=rotation_z(-np.pi / 2), tool=TOOL)
ACTIONS_PER_CHUNK = 32


def state_from_endposes(
    left: ArrayLike, left_gripper: ArrayLike, right: ArrayLike, right_gripper: ArrayLike
) -> Array:
    """The `endpose` of an observation, x y z and quaternion w x y z -> state.  # ... 7, ... -> ... 16"""
    sides = []
    for pose, gripper in ((left, left_gripper), (right, right_gripper)):
        pose = np.asarray(pose, dtype=np.float64)
        gripper = np.broadcast_to(np.asarray(gripper, dtype=np.float64), pose.shape[:-1])
        sides.append(np.concatenate([pose, gripper[..., None]], axis=-1))
    return FROM_ROBOTWIN.state(np.concatenate(sides, axis=-1))


def endposes_from_state(state: ArrayLike) -> Array:
    """What `take_action(action_type="ee")` wants: per arm x y z, quaternion w x y z, gripper.  # ... 16"""
    return FROM_ROBOTWIN.inverse.state(state)


def endposes_of_chunk(state: ArrayLike, actions: ArrayLike) -> Array:
    """The absolute poses of a chunk of deltas, starting where the robot was measured.  # 16, K 14 -> K 16"""
    if len(arms(state, STATE)) != 2:
        raise ValueError("RoboTwin has two arms: wanted a state of 16 numbers")
    return endposes_from_state(integrate_chunk(state, actions))
