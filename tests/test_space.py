"""Rotations, poses and resampling: against scipy, and the laws they must keep for any numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lerobot_xwam.space import poses, resampling, rotations
from lerobot_xwam.space.poses import FrameChange

RNG = np.random.default_rng(0)
numbers = st.floats(-3, 3, allow_nan=False, width=64)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
unit = st.floats(0, 1, width=64)
# Axis-angle vectors of all lengths: nothing, hardly anything, half turns, more than a turn.
turns = st.one_of(
    vectors,
    vectors.map(lambda v: v * 1e-9),
    vectors.map(lambda v: v / max(float(np.linalg.norm(v)), 1e-3) * np.pi),
)


def arm(position: np.ndarray, turn: np.ndarray, gripper: float) -> np.ndarray:
    return poses.arm_state(position, rotations.matrix_from_vector(turn), gripper)


arm_states = st.builds(arm, vectors, turns, unit)
states = st.one_of(arm_states, st.tuples(arm_states, arm_states).map(np.concatenate))
paths = st.lists(arm_states, min_size=2, max_size=12).map(np.stack)


def assert_same_pose(a: np.ndarray, b: np.ndarray, tolerance: float) -> None:
    a, b = poses.arms(a, poses.STATE), poses.arms(b, poses.STATE)
    assert np.abs(a[..., poses.POSITION] - b[..., poses.POSITION]).max() < tolerance
    assert poses.relative_turn(a[..., poses.ROTATION], b[..., poses.ROTATION]).max() < tolerance
    assert np.abs(a[..., poses.GRIPPER] - b[..., poses.GRIPPER]).max() < tolerance


# --- Against scipy ---


def reference() -> Rotation:
    return Rotation.random(300, random_state=1)


def test_quaternions_matrices_and_vectors_agree_with_scipy() -> None:
    known = reference()
    quaternion = known.as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(rotations.quaternion_from_matrix(known.as_matrix()), quaternion, atol=1e-14)
    np.testing.assert_allclose(
        rotations.matrix_from_quaternion(-3 * quaternion), known.as_matrix(), atol=1e-14
    )
    np.testing.assert_allclose(rotations.vector_from_matrix(known.as_matrix()), known.as_rotvec(), atol=1e-12)
    np.testing.assert_allclose(rotations.matrix_from_vector(known.as_rotvec()), known.as_matrix(), atol=1e-14)
    product = (known * known[::-1]).as_quat(canonical=True, scalar_first=True)
    ours = rotations.canonical(rotations.multiply(quaternion, quaternion[::-1]))
    np.testing.assert_allclose(ours, product, atol=1e-14)


@pytest.mark.parametrize("order", ["xyz", "zyx", "XYZ", "ZYX", "zxz", "YXY"])
def test_euler_angles_agree_with_scipy(order: str) -> None:
    angles = RNG.uniform(-3, 3, (50, 3))
    expected = Rotation.from_euler(order, angles).as_matrix()
    np.testing.assert_allclose(rotations.matrix_from_euler(angles, order), expected, atol=1e-14)


@pytest.mark.parametrize("order", ["xyZ", "ab", "xyzx", "xyw"])
def test_unknown_euler_orders_are_named(order: str) -> None:
    with pytest.raises(ValueError, match=order):
        rotations.matrix_from_euler(np.zeros(3), order)


def test_six_numbers_are_two_columns() -> None:
    matrices = reference().as_matrix()
    six = rotations.six_d_from_matrix(matrices)
    np.testing.assert_allclose(rotations.matrix_from_6d(six), matrices, atol=1e-14)
    crooked = six + RNG.normal(0, 0.1, six.shape)
    assert rotations.not_a_rotation(rotations.matrix_from_6d(crooked)) is None


def test_what_is_no_rotation_is_told() -> None:
    good = reference().as_matrix()
    assert rotations.not_a_rotation(good) is None
    assert "left-handed" in str(rotations.not_a_rotation(good * np.array([1, 1, -1])))
    assert "orthonormal" in str(rotations.not_a_rotation(good * 1.01))
    assert "NaN" in str(rotations.not_a_rotation(good * np.nan))


# --- Laws ---


@given(st.lists(turns, min_size=1, max_size=20))
def test_quaternion_signs_never_flip(path: list[np.ndarray]) -> None:
    quaternions = rotations.quaternion_from_vector(np.stack(path)) * RNG.choice([-1, 1], (len(path), 1))
    smooth = rotations.continuous(quaternions)
    assert smooth[0, 0] >= 0
    assert (np.sum(smooth[1:] * smooth[:-1], axis=1) >= 0).all()
    expected = rotations.matrix_from_quaternion(quaternions)
    np.testing.assert_allclose(rotations.matrix_from_quaternion(smooth), expected, atol=1e-12)


@given(turns)
def test_all_forms_of_a_rotation_mean_the_same(turn: np.ndarray) -> None:
    matrix = Rotation.from_rotvec(turn).as_matrix()
    np.testing.assert_allclose(rotations.matrix_from_vector(turn), matrix, atol=1e-12)
    there_and_back = rotations.matrix_from_vector(rotations.vector_from_matrix(matrix))
    np.testing.assert_allclose(there_and_back, matrix, atol=1e-9)
    assert np.linalg.norm(rotations.vector_from_matrix(matrix)) <= np.pi + 1e-12
    assert rotations.quaternion_from_matrix(matrix)[0] >= 0


@given(st.data())
def test_pose_to_delta_to_pose(data: st.DataObject) -> None:
    now = data.draw(states)
    then = data.draw(states.filter(lambda s: s.shape == now.shape))
    action = poses.delta(now, then)
    assert action.shape == (7 * len(now) // 8,)
    assert_same_pose(poses.integrate(now, action), then, 1e-6)
    assert np.abs(poses.delta(now, now)).max() < 1e-7  # standing still is no action


@given(states, vectors, turns, turns)
def test_frame_changes_have_inverses(
    state: np.ndarray, shift: np.ndarray, world: np.ndarray, tool: np.ndarray
) -> None:
    change = FrameChange(rotations.matrix_from_vector(world), shift, rotations.matrix_from_vector(tool))
    assert_same_pose(change.inverse.state(change.state(state)), state, 1e-6)
    body = FrameChange.into(state[:3], rotations.matrix_from_quaternion(state[3:7]))
    origin = np.concatenate([[0, 0, 0, 1, 0, 0, 0], state[7:8]])
    assert_same_pose(body.state(state[:8]), origin, 1e-6)


@given(arm_states, arm_states, vectors, turns, turns)
def test_deltas_change_frames_like_their_poses(
    now: np.ndarray, then: np.ndarray, shift: np.ndarray, world: np.ndarray, tool: np.ndarray
) -> None:
    change = FrameChange(rotations.matrix_from_vector(world), shift, rotations.matrix_from_vector(tool))
    reached = poses.integrate(change.state(now), change.action(poses.delta(now, then)))
    assert_same_pose(reached, change.state(then), 1e-6)


@settings(max_examples=50)
@given(paths, st.integers(1, 40))
def test_resampling_keeps_the_total_motion(path: np.ndarray, count: int) -> None:
    times = np.arange(len(path)) / 10
    resampled = resampling.states_at(np.linspace(0, times[-1], count + 1), path, times)
    actions = resampling.actions_along(resampled)
    assert len(actions) == count
    assert_same_pose(resampled[0], path[0], 1e-6)
    assert_same_pose(poses.integrate_chunk(path[0], actions)[-1], path[-1], 1e-6)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_coarser_actions_lead_to_the_same_places(skip: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    actions = rng.normal(0, 0.3, (skip * count + rng.integers(skip), 14))
    start = np.concatenate([arm(*rng.normal(0, 1, (2, 3)), 0.5) for _ in range(2)])
    fine = poses.integrate_chunk(start, actions)[skip - 1 :: skip]
    coarse = poses.integrate_chunk(start, resampling.coarser_actions(actions, skip))
    assert len(coarse) == count
    assert_same_pose(coarse, fine[:count], 1e-9)


def test_resampling_goes_straight_and_turns_evenly() -> None:
    path = np.stack([arm(np.zeros(3), np.zeros(3), 0.0), arm(np.ones(3), np.array([0.0, 0.0, 2.0]), 1.0)])
    quarter = resampling.states_at([0.25], path, [0.0, 1.0])[0]
    assert_same_pose(quarter, arm(np.full(3, 0.25), np.array([0.0, 0.0, 0.5]), 0.25), 1e-12)


def test_times_outside_of_a_path_are_refused() -> None:
    path = np.stack([arm(np.zeros(3), np.zeros(3), 0.0)] * 2)
    with pytest.raises(ValueError, match=r"0 to 2 s of a path"):
        resampling.states_at([0.0, 2.0], path, [0.0, 1.0])
    with pytest.raises(ValueError, match="grow"):
        resampling.states_at([0.0], path, [0.0, 0.0])


def test_actions_that_last_longer_reach_as_far_as_their_last_target() -> None:
    """Robots that follow their targets exactly: the target of frame t is the state at t + 1."""
    path = np.stack([arm(*RNG.normal(0, 1, (2, 3)), RNG.uniform()) for _ in range(10)])
    states, targets = path[:-1], path[1:]
    for skip in (1, 2, 3):
        actions = resampling.actions_towards(states, targets, skip)
        assert len(actions) == len(states) - skip
        for i, action in enumerate(actions):
            assert_same_pose(poses.integrate(states[i], action), states[i + skip], 1e-9)
    with pytest.raises(ValueError, match="skip=0"):
        resampling.moves_towards(states, targets, 0)


def test_wrong_widths_are_told() -> None:
    with pytest.raises(ValueError, match=r"\(9,\).*8 numbers per arm"):
        poses.integrate(np.zeros(9), np.zeros(7))
