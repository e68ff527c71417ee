"""Calibrations: read, found, refused with the reason; hand-eye matrices for one arm and two."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from world_scene import FRAMES, LEFT, NAMES, RIGHT, WRIST, seen, states, true_rig

from lerobot_xwam.space.poses import arm_state, pose_matrix
from lerobot_xwam.space.rotations import matrix_from_vector
from lerobot_xwam.world.calibration import read_calibration, write_calibration
from lerobot_xwam.world.cameras import Camera
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.found_cameras import find_rig, seen_in_rows
from lerobot_xwam.world.rigid import distance, mean_pose

POSE = pose_matrix(matrix_from_vector([0.2, -0.4, 0.1]), np.array([0.5, -0.2, 0.8]))
K = [[75.0, 0, 40], [0, 75, 30], [0, 0, 1]]


def entry(**changed: Any) -> dict[str, Any]:
    return {"size": [60, 80], "intrinsics": K, "pose": POSE.tolist()} | changed


def written(folder: Path, camera: Any, **more: Any) -> Path:
    path = folder / "cameras.json"
    path.write_text(json.dumps({"cameras": {"front": camera}, **more}))
    return path


def test_a_file_comes_back(tmp_path: Path) -> None:
    rig = true_rig(arms=2)
    write_calibration(tmp_path / "rig.json", rig)
    back = read_calibration(tmp_path / "rig.json")
    assert list(back.cameras) == list(rig.cameras)
    for name, camera in rig.cameras.items():
        np.testing.assert_allclose(back.cameras[name].pose, camera.pose)
        np.testing.assert_allclose(back.cameras[name].intrinsics, camera.intrinsics)
        assert (back.cameras[name].size, back.cameras[name].arm) == (camera.size, camera.arm)
    assert back.static(NAMES) == [LEFT, RIGHT] and back.wrist(NAMES) == [WRIST]


def test_yaml_millimetres_and_opencv_s_pixels(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(
        "unit: mm\npixel_origin: centre\ncameras:\n  wrist:\n    size: [60, 80]\n    arm: 1\n"
        "    intrinsics: [[75, 0, 39.5], [0, 75, 29.5], [0, 0, 1]]\n"
        "    hand_eye: [[1, 0, 0, 50], [0, 1, 0, -20], [0, 0, 1, 7], [0, 0, 0, 1]]\n"
    )
    camera = read_calibration(path).cameras[WRIST]
    np.testing.assert_allclose(camera.pose[:3, 3], [0.05, -0.02, 0.007])
    np.testing.assert_allclose(camera.intrinsics, K)
    assert camera.arm == 1


def changed(pose: np.ndarray, at: Any, value: Any) -> list[list[float]]:
    pose = pose.copy()
    pose[at] = value
    return pose.tolist()


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        (entry(pose=changed(POSE, np.s_[:3, :3], 1.1 * POSE[:3, :3])), "is no rotation"),
        (entry(pose=changed(POSE, np.s_[:3, 1], -POSE[:3, 1])), "mirrors (determinant -1)"),
        (entry(pose=changed(POSE, np.s_[:3, 3], 1000 * POSE[:3, 3])), "Is it in millimetres?"),
        (entry(pose=POSE.T.tolist()), "is the matrix transposed?"),
        (entry(pose=changed(POSE, (0, 3), float("nan"))), "finite numbers"),
        (entry(pose=POSE[:3].tolist()), "shape (3, 4), wanted (4, 4)"),
        (entry(intrinsics=[[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]), "do not fit to a picture"),
        (entry(intrinsics=[[600, 0, 320], [0, 600, 240], [0, 0, 1]]), "do not fit to a picture"),
        (entry(intrinsics=[[-75, 0, 40], [0, 75, 30], [0, 0, 1]]), "no mirrored axis"),
        (entry(intrinsics=np.transpose(K).tolist()), "is not [[fx, 0, cx]"),
        (entry(size=[60]), "wanted [height, width]"),
        (entry(hand_eye=POSE.tolist()), "either 'pose'"),
        (entry(arm=0), "'arm' goes with 'hand_eye'"),
        (entry(posse=1), "posse unknown"),
        ({"size": [60, 80], "pose": POSE.tolist()}, "intrinsics missing"),
        ({"size": [60, 80], "intrinsics": K, "hand_eye": POSE.tolist(), "arm": -1}, "arm -1"),
        (
            {"size": [60, 80], "intrinsics": K, "hand_eye": changed(POSE, np.s_[:3, 3], [50, 0, 20])},
            "hand_eye: position [50.0, 0.0, 20.0] lies 53.85 m away, more than 2 m. Is it in millimetres?",
        ),
        ("front", "wanted size, intrinsics and pose"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, camera: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        read_calibration(written(tmp_path, camera))
    assert "camera 'front'" in str(error.value) and "cameras.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "neither JSON nor YAML"),
        ("[]", "wanted 'cameras:'"),
        ("cameras: {}", "wanted 'cameras:'"),
        ("unit: cm\ncameras: {a: {}}", "unit 'cm', wanted one of m, mm"),
        ("camera: {}\ncameras: {a: {}}", "camera unknown"),
    ],
)
def test_what_is_no_calibration(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(reason)):
        read_calibration(path)


# --- found in recorded poses


@pytest.mark.parametrize("arms", [1, 2])
def test_the_rig_is_found_in_recorded_poses(arms: int) -> None:
    truth = true_rig(arms)
    rig, refused = find_rig(seen(truth, arms), effectors_of_layout(states(arms)))
    assert not refused
    for name, camera in truth.cameras.items():
        assert rig.cameras[name].arm == camera.arm
        np.testing.assert_allclose(rig.cameras[name].pose, camera.pose, atol=1e-9)
    assert "stands still" in rig.notes[LEFT]
    assert f"on arm {arms - 1}, hand-eye from {FRAMES} frames within" in rig.notes[WRIST]


def test_the_hand_eye_matrix_is_a_mean() -> None:
    """Noise of the sensors averages out, and the residual tells of it."""
    truth, generator = true_rig(), np.random.default_rng(0)
    moved = seen(truth)[WRIST]
    effectors = np.repeat(effectors_of_layout(states()), 25, axis=0)
    poses = np.repeat(moved.poses, 25, axis=0)
    shaken = [
        pose @ pose_matrix(matrix_from_vector(generator.normal(0, 0.002, 3)), generator.normal(0, 0.002, 3))
        for pose in poses
    ]
    noisy = replace(moved, poses=np.stack(shaken), intrinsics=np.repeat(moved.intrinsics, 25, axis=0))
    rig, _ = find_rig({WRIST: noisy}, effectors)
    metres, degrees = distance(rig.cameras[WRIST].pose, truth.cameras[WRIST].pose)
    assert metres < 0.001 and degrees < 0.1
    assert 3 < float(re.findall(r"within ([\d.]+) mm", rig.notes[WRIST])[0]) < 15


def test_cameras_that_cannot_be_placed_are_named_and_the_rest_stays() -> None:
    truth = true_rig()
    recorded = seen(truth)
    elsewhere = replace(recorded[WRIST], poses=recorded[WRIST].poses[::-1])  # moves against the arm
    rig, refused = find_rig({**recorded, WRIST: elsewhere}, effectors_of_layout(states()))
    assert list(rig.cameras) == [LEFT, RIGHT]
    assert "it moves, but with no arm" in refused[WRIST] and "same frame and unit?" in refused[WRIST]
    _, refused = find_rig(recorded, None)
    assert "give the robot's URDF" in refused[WRIST]
    millimetres = recorded[LEFT].poses.copy()
    millimetres[:, :3, 3] *= 1000
    _, refused = find_rig({LEFT: replace(recorded[LEFT], poses=millimetres)}, None)
    assert "Is it in millimetres?" in refused[LEFT]
    zoomed = recorded[LEFT].intrinsics * np.linspace(1, 2, FRAMES)[:, None, None]
    _, refused = find_rig({LEFT: replace(recorded[LEFT], intrinsics=zoomed)}, None)
    assert "zoom" in refused[LEFT]


def test_columns_of_a_dataset() -> None:
    rows = {
        "observation.camera.left.intrinsics": np.stack([K] * 2),
        "observation.camera.left.extrinsics": np.stack([POSE] * 2)[:, None],  # observations: F 1 4 4
        "observation.camera.right.intrinsics": np.stack([K] * 2),
    }
    found = seen_in_rows(rows, {LEFT: (60, 80), RIGHT: (60, 80)}, [LEFT, RIGHT])
    assert list(found) == [LEFT] and found[LEFT].poses.shape == (2, 4, 4)


# --- poses


def test_effector_poses_of_the_layout() -> None:
    rotation = matrix_from_vector([0.3, 0.1, -0.7])
    one = arm_state(np.array([0.1, 0.2, 0.3]), rotation, np.array(0.5))
    two = np.concatenate([one, arm_state(np.zeros(3), np.eye(3), np.array(0.0))])
    two[3:7] *= 1.3  # a predicted quaternion is never of length 1
    poses = effectors_of_layout(two[None])
    assert poses.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(poses[0, 0], pose_matrix(rotation, [0.1, 0.2, 0.3]), atol=1e-12)
    np.testing.assert_allclose(poses[0, 1], np.eye(4))
    with pytest.raises(ValueError, match="8 numbers for one arm, 16 for two"):
        effectors_of_layout(np.zeros((3, 6)))
    with pytest.raises(ValueError, match="length zero or NaN"):
        effectors_of_layout(np.zeros((3, 8)))


def test_the_mean_of_poses_is_a_pose() -> None:
    turns = [matrix_from_vector([0, 0, angle]) for angle in (-0.3, 0.1, 0.2)]
    mean = mean_pose(np.stack([pose_matrix(turn, [i, 0, 0]) for i, turn in enumerate(turns)]))
    np.testing.assert_allclose(mean[:3, :3] @ mean[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(mean[:3, :3]) == pytest.approx(1) and mean[0, 3] == pytest.approx(1)
    metres, degrees = distance(mean, np.eye(4))
    assert degrees < 0.5 and metres == pytest.approx(1)


def test_a_camera_checks_itself() -> None:
    with pytest.raises(ValueError, match="hand_eye: position"):
        Camera(np.array(K), (60, 80), pose_matrix(np.eye(3), [5, 0, 0]), arm=0)
