"""End-effector poses from a robot's states: read from the universal layout, or by forward kinematics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lerobot_xwam.data.layout import EE_STATE_DIMS
from lerobot_xwam.space.poses import POSITION, ROTATION, STATE, arms, pose_matrix
from lerobot_xwam.space.rotations import Array, matrix_from_quaternion

from .footage import Floats

Effectors = Callable[[Array | Floats], Array]
"""States in robot units, F P -> poses F arms 4 4, metres, in the room's frame."""


def effectors_of_layout(states: Array | Floats) -> Array:
    """Per arm x y z, quaternion w x y z, gripper. F 8|16 -> F arms 4 4"""
    if states.ndim != 2 or states.shape[1] not in EE_STATE_DIMS:
        raise ValueError(
            f"states of shape {states.shape}: the end-effector layout has 8 numbers for one arm, 16 for two"
        )
    per_arm = arms(states, STATE)  # F n 8
    if not (np.linalg.norm(per_arm[..., ROTATION], axis=-1) > 1e-6).all():  # NaN is not above it either
        raise ValueError("a quaternion of length zero or NaN: the states hold no rotation")
    return pose_matrix(matrix_from_quaternion(per_arm[..., ROTATION]), per_arm[..., POSITION])
