"""The two ways to talk to the arms, over the same world.

`ee`: the universal layout. State per arm: xyz (m), quaternion wxyz with w >= 0, gripper (0 closed, 1 open).
Action per arm: what to add to the measured pose: xyz (m), axis-angle in world axes (R' = exp(w) R), gripper.
`native`: the arm's own joints. State: joint positions. Action: joint targets for the next step.
Both list the left arm first; a single arm is the left one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.envs.tabletop.tasks import Task
from lerobot_xwam.envs.tabletop.world import JOINTS, Arm, World
from lerobot_xwam.space.poses import GRIPPER, POSITION, ROTATION, arm_state, delta, integrate, pose_matrix
from lerobot_xwam.space.rotations import Array, matrix_from_quaternion

INTERFACES = ("ee", "native")
EE_STATE = ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper")
EE_ACTION = ("dx", "dy", "dz", "drx", "dry", "drz", "dgripper")


def check_interface(interface: str) -> str:
    """The interface's name, if there is one of that name."""
    if interface not in INTERFACES:
        raise ValueError(f"interface: got {interface!r}, wanted one of {INTERFACES}.")
    return interface


def state_names(task: Task, interface: str) -> list[str]:
    """Names of the entries of the state vector."""
    return _names(task, interface, EE_STATE)


def action_names(task: Task, interface: str) -> list[str]:
    """Names of the entries of the action vector."""
    return _names(task, interface, EE_ACTION)


def _names(task: Task, interface: str, universal: tuple[str, ...]) -> list[str]:
    if check_interface(interface) == "ee":
        return [f"{side}_{name}" for side in task.arms for name in universal]
    if len(task.arms) == 1:
        return [f"{joint}.pos" for joint in JOINTS]
    return [f"{side}_{joint}.pos" for side in task.arms for joint in JOINTS]


def measure(world: World, interface: str) -> NDArray[np.float32]:
    """The state vector.  # 8 or 5 per arm"""
    per_arm = [_ee_state(arm) if interface == "ee" else arm.joints for arm in world.arms]
    return np.concatenate(per_arm).astype(np.float32)


def action_towards(world: World, targets: list[Array], interface: str) -> NDArray[np.float32]:
    """The action vector that leads to joint targets.  # 7 or 5 per arm"""
    pairs = zip(world.arms, targets, strict=True)
    per_arm = [_ee_action(arm, target) if interface == "ee" else target for arm, target in pairs]
    return np.concatenate(per_arm).astype(np.float32)


def targets_of(world: World, action: NDArray[Any], interface: str) -> list[Array]:
    """The joint targets, one per arm, that an action vector asks for."""
    wanted = (len(action_names(world.task, interface)),)
    values = np.asarray(action, dtype=np.float64)
    if values.shape != wanted or not np.isfinite(values).all():
        raise ValueError(
            f"action: got shape {values.shape} with {int((~np.isfinite(values)).sum())} non-finite values; "
            f"task {world.task.name!r} with interface {interface!r} wants {wanted} finite numbers: "
            f"{action_names(world.task, interface)}."
        )
    per_arm = np.split(values, len(world.arms))
    if interface == "native":
        return per_arm
    return [_ee_target(arm, part) for arm, part in zip(world.arms, per_arm, strict=True)]


def _ee_state(arm: Arm) -> Array:
    return arm_state(arm.tool_pose[:3, 3], arm.tool_pose[:3, :3], arm.gripper)


def _ee_action(arm: Arm, target: Array) -> Array:
    then = arm.tool_pose_at(target)
    return delta(_ee_state(arm), arm_state(then[:3, 3], then[:3, :3], target[-1]))


def _ee_target(arm: Arm, action: Array) -> Array:
    wanted = integrate(_ee_state(arm), action)
    pose = pose_matrix(matrix_from_quaternion(wanted[ROTATION]), wanted[POSITION])
    return arm.joints_for(pose, float(wanted[GRIPPER][0]))
