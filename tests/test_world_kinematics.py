"""Forward kinematics from a URDF against a planar arm's textbook formula (needs the `kinematics` extra)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lerobot_xwam.world.kinematics import effectors_of_urdf, joints_of

ARM = """<joint name="{p}shoulder" type="revolute"><parent link="base"/><child link="{p}upper"/>
<origin xyz="0 {y} 0.1"/><axis xyz="0 0 1"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
<joint name="{p}elbow" type="revolute"><parent link="{p}upper"/><child link="{p}lower"/>
<origin xyz="0.3 0 0"/><axis xyz="0 0 1"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
<joint name="{p}tip" type="fixed"><parent link="{p}lower"/><child link="{p}hand"/>
<origin xyz="0.2 0 0"/></joint>
<link name="{p}upper"/><link name="{p}lower"/><link name="{p}hand"/>"""
STATES = ["left_shoulder.pos", "left_elbow.pos", "left_gripper.pos", "right_shoulder.pos", "right_elbow.pos"]


@pytest.fixture
def urdf(tmp_path: Path) -> Path:
    arms = ARM.format(p="left_", y=0.25) + ARM.format(p="right_", y=-0.25)
    (tmp_path / "robot.urdf").write_text(f'<robot name="two"><link name="base"/>{arms}</robot>')
    return tmp_path / "robot.urdf"


def planar(shoulder: float, elbow: float, y: float) -> np.ndarray:
    both = shoulder + elbow
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(both), -np.sin(both)], [np.sin(both), np.cos(both)]]
    reach = 0.3 * np.array([np.cos(shoulder), np.sin(shoulder)]) + 0.2 * pose[:2, 0]
    pose[:3, 3] = [reach[0], y + reach[1], 0.1]
    return pose


@pytest.mark.parametrize("degrees", [True, False])
def test_two_arms_by_the_textbook(urdf: Path, degrees: bool) -> None:
    pytest.importorskip("placo")
    effectors = effectors_of_urdf(urdf, ["left_hand", "right_hand"], STATES, degrees=degrees)
    angles = np.radians([[10.0, 20.0, 50.0, -30.0, 45.0], [0.0, 0.0, 0.0, 90.0, -90.0]])
    poses = effectors(np.degrees(angles) if degrees else angles)
    assert poses.shape == (2, 2, 4, 4)
    for frame, (shoulder, elbow, _, other_shoulder, other_elbow) in enumerate(angles):
        np.testing.assert_allclose(poses[frame, 0], planar(shoulder, elbow, 0.25), atol=1e-9)
        np.testing.assert_allclose(poses[frame, 1], planar(other_shoulder, other_elbow, -0.25), atol=1e-9)


def test_what_is_no_robot(urdf: Path, tmp_path: Path) -> None:
    assert joints_of(urdf) == {
        f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow")
    }
    with pytest.raises(FileNotFoundError, match="no such file"):
        effectors_of_urdf(tmp_path / "none.urdf", ["hand"], STATES)
    with pytest.raises(ValueError, match=r"none of the states \['a.pos'\] is a joint of it"):
        effectors_of_urdf(urdf, ["left_hand"], ["a.pos"])
    with pytest.raises(ValueError, match="name the end effector's frame"):
        effectors_of_urdf(urdf, [], STATES)
    (tmp_path / "bad.urdf").write_text("robot")
    with pytest.raises(ValueError, match="no XML"):
        effectors_of_urdf(tmp_path / "bad.urdf", ["hand"], STATES)


def test_a_missing_frame_is_named(urdf: Path) -> None:
    pytest.importorskip("placo")
    with pytest.raises(ValueError, match="no frame 'thumb'"):
        effectors_of_urdf(urdf, ["thumb"], STATES)
