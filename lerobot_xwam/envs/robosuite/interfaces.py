"""Three ways to talk to the same arms. All list the left arm first; a single arm is the left one.

`ee`     the universal layout as RoboTwin has it. State per arm: x y z (m, world), quaternion w x y z (w >=
         0), gripper (0 closed .. 1 open). Action per arm: a relative pose, target minus measured: xyz (m),
         axis-angle of R_target R_measured^T, both along the world's axes, and gripper opening. More than 5
         cm or 0.5 rad per step along an axis of the arm's base saturates.
`raw`    the same state; actions are the pose controller's own, as with RoboCasa: see arms.py.
`native` joints. State: 7 joint positions (rad) and the gripper; action: targets for them, absolute.

The Panda's fingers know open and close only. So the gripper's target is 1 or 0, and `ee` says target minus
measured: on a held cube it stays about -0.5 and does not fade to 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.envs.robosuite.arms import Arm, gripper_command
from lerobot_xwam.envs.robosuite.tasks import ARM_NAMES, Task
from lerobot_xwam.space.rotations import Array

INTERFACES = ("ee", "raw", "native")
EE_STATE = ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper")
EE_ACTION = ("dx", "dy", "dz", "drx", "dry", "drz", "dgripper")
JOINTS = (*(f"joint{index}" for index in range(1, 8)), "gripper")
ABSENT_STATE = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0])  # no arm: zeros and no rotation
RAW_SIZE = len(EE_ACTION)


def check_interface(interface: str, arms: int = 0) -> str:
    """The interface's name, if there is one of that name, and the width can be had with it."""
    if interface not in INTERFACES:
        raise ValueError(f"interface: got {interface!r}, wanted one of {INTERFACES}.")
    if arms not in (0, 2):
        raise ValueError(
            f"arms: got {arms}, wanted 0 (as many as the task has) or 2 (always the width of two)."
        )
    if arms == 2 and interface == "native":
        raise ValueError(
            "arms: got 2 with interface 'native', but only 'ee' and 'raw' have a width for an absent arm; "
            "set --env.arms=0 or --env.interface=ee."
        )
    return interface


def state_names(task: Task, interface: str, arms: int = 0) -> list[str]:
    """Names of the entries of the state vector."""
    return _names(task, interface, arms, EE_STATE)


def action_names(task: Task, interface: str, arms: int = 0) -> list[str]:
    """Names of the entries of the action vector."""
    return _names(task, interface, arms, EE_ACTION)


def _names(task: Task, interface: str, arms: int, universal: tuple[str, ...]) -> list[str]:
    if check_interface(interface, arms) == "native":
        if len(task.arms) == 1:
            return [f"{joint}.pos" for joint in JOINTS]
        return [f"{side}_{joint}.pos" for side in task.arms for joint in JOINTS]
    sides = ARM_NAMES if arms == 2 else task.arms
    return [f"{side}_{name}" for side in sides for name in universal]


def measure(arms: list[Arm], interface: str, length: int) -> NDArray[np.float32]:
    """The state vector, with an absent arm to fill the length.  # 8 per arm"""
    if interface == "native":
        parts = [np.append(arm.joints, arm.gripper) for arm in arms]
    else:
        parts = [arm.universal_state for arm in arms]
    missing = length // len(ABSENT_STATE) - len(parts)
    return np.concatenate(parts + [ABSENT_STATE] * missing).astype(np.float32)


def controls_of(arms: list[Arm], action: NDArray[Any], interface: str, names: list[str]) -> Array:
    """An action vector -> the vector that robosuite wants. Numbers of an absent arm are not looked at."""
    values = check_vector("action", action, names)
    parts = values.reshape(-1, 8 if interface == "native" else RAW_SIZE)
    return np.concatenate([_control(arm, part, interface) for arm, part in zip(arms, parts, strict=False)])


def action_from_raw(arms: list[Arm], raw: NDArray[Any], interface: str, length: int) -> NDArray[np.float32]:
    """Raw actions of the arms that are there (7 each) -> the action vector that does the same."""
    names = [name for side in ARM_NAMES[: len(arms)] for name in (f"{side}_{entry}" for entry in EE_ACTION)]
    parts = check_vector("raw action", raw, names).reshape(-1, RAW_SIZE)
    convert = {"raw": lambda _, part: part, "ee": Arm.delta_from_raw, "native": Arm.joint_targets_from_raw}
    action = np.zeros(length, dtype=np.float32)
    found = np.concatenate([convert[interface](arm, part) for arm, part in zip(arms, parts, strict=True)])
    action[: len(found)] = found
    return action


def check_vector(what: str, vector: NDArray[Any], names: list[str]) -> Array:
    """The vector in double precision, if it has one finite number for each name."""
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise ValueError(
            f"{what}: got shape {values.shape} with {int((~np.isfinite(values)).sum())} non-finite values, "
            f"wanted ({len(names)},) finite numbers: {names}."
        )
    return values


def _control(arm: Arm, part: Array, interface: str) -> Array:
    if interface == "native":
        return np.append(np.clip(part[:7], *arm.joint_range.T), -gripper_command(part[7]))
    raw = arm.raw_from_delta(part) if interface == "ee" else np.clip(part, -1.0, 1.0)
    return np.append(raw[:6], -raw[6])  # robosuite's gripper closes with +1
