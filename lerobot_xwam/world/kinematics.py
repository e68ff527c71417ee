"""End-effector poses of joint-space robots: forward kinematics from a URDF, by LeRobot's placo wrapper.

Optional: pip install 'lerobot_policy_xwam[kinematics]'.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lerobot_xwam.space.rotations import Array

from .effectors import Effectors
from .footage import Floats

Forward = Callable[[Array], Array]
"""Joint positions as LeRobot has them (degrees) -> the frame's pose, 4 4."""


def effectors_of_urdf(
    urdf: Path, frames: Sequence[str], state_names: Sequence[str], *, degrees: bool = True
) -> Effectors:
    """States that hold joints -> poses of these frames, one per arm, in the URDF's base frame.

    State entries are matched to the URDF's joints by name (`shoulder_pan.pos` is `shoulder_pan`, and
    `left_shoulder_pan.pos` is the left arm's). What matches no joint, such as a gripper, is not used.
    """
    from lerobot.model.kinematics import RobotKinematics

    if not urdf.is_file():
        raise FileNotFoundError(f"--urdf {urdf}: no such file")
    if not 1 <= len(frames) <= 2:
        raise ValueError(f"--urdf-frame {list(frames)}: name the end effector's frame of one arm, or of both")
    joints = [match_joint(name) for name in state_names]
    known, links = joints_of(urdf), _names(urdf, "link")
    for frame in frames:
        if frame not in links:
            raise ValueError(f"--urdf-frame: no frame {frame!r} in {urdf}; its links are {sorted(links)}")
    columns = [index for index, joint in enumerate(joints) if joint in known]
    if not columns:
        raise ValueError(
            f"--urdf {urdf}: none of the states {list(state_names)} is a joint of it; it has {sorted(known)}"
        )
    try:
        robots = [RobotKinematics(str(urdf), frame, [joints[i] for i in columns]) for frame in frames]
    except ImportError as error:
        raise ValueError(
            f"--urdf: forward kinematics need placo: pip install 'lerobot_policy_xwam[kinematics]' ({error})"
        ) from error
    scale = 1.0 if degrees else float(np.degrees(1.0))

    def effectors(states: Array | Floats) -> Array:
        positions = np.asarray(states, dtype=np.float64)[:, columns] * scale  # F joints
        poses = [[robot.forward_kinematics(each) for robot in robots] for each in positions]
        return np.array(poses)  # F arms 4 4

    return effectors


def match_joint(state_name: str) -> str:
    return re.sub(r"\.pos$", "", state_name)


def joints_of(urdf: Path) -> set[str]:
    """Names of the joints that move."""
    return _names(urdf, "joint", but="fixed")


def _names(urdf: Path, tag: str, but: str = "") -> set[str]:
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(urdf).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"--urdf {urdf}: no XML ({error})") from error
    parts = (part for part in root.findall(tag) if not but or part.get("type") != but)
    return {name for part in parts if (name := part.get("name"))}
