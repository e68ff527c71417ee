"""Episodes of the authors' layout: what is read, what is refused and why, and which windows they give."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lerobot_xwam.data.authors_layout.clips import ClipPlan, cut, from_controller, padded, universal_actions
from lerobot_xwam.data.authors_layout.episode import BadEpisodeError, parse_episode
from lerobot_xwam.data.authors_layout.frames import depth_frames, rgb_frames
from lerobot_xwam.space import poses
from lerobot_xwam.space.rotations import quaternion_from_matrix, six_d_from_matrix, vector_from_matrix

GOLDEN = Path(__file__).parent / "golden"
DUAL = json.loads((GOLDEN / "episode_dual.json").read_text())
RAW = json.loads((GOLDEN / "episode_raw.json").read_text())


def changed(content: dict[str, Any], *path: str, to: Any = None, drop: bool = False) -> dict[str, Any]:
    content = copy.deepcopy(content)
    place = content
    for key in path[:-1]:
        place = place[key]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = to(place[path[-1]]) if callable(to) else to
    return content


def test_what_an_episode_says() -> None:
    episode = parse_episode(DUAL, "one")
    assert (episode.frames, episode.arms, episode.instructions) == (41, 2, ("pick up the cup",))
    assert [camera.name for camera in episode.cameras] == ["head_camera", "left_camera", "right_camera"]
    assert [camera.moves for camera in episode.cameras] == [False, True, True]
    assert episode.cameras[1].start == 3
    assert parse_episode(RAW, "two").arms == 1


@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("rotvec", vector_from_matrix),
        ("axisangle", vector_from_matrix),
        ("quat", quaternion_from_matrix),
        ("rot6d", six_d_from_matrix),
    ],
)
def test_rotations_in_any_form_mean_the_same(name: str, convert: Any) -> None:
    content = copy.deepcopy(DUAL)
    for group in ("proprios", "actions"):
        for side in ("left", "right"):
            matrices = np.array(content[group].pop(f"{side}_ee_rotm")).reshape(-1, 3, 3)
            content[group][f"{side}_ee_{name}"] = convert(matrices).tolist()
    expected, got = parse_episode(DUAL, "one"), parse_episode(content, "one")
    np.testing.assert_allclose(got.states, expected.states, atol=1e-9)
    np.testing.assert_allclose(universal_actions(got), universal_actions(expected), atol=1e-9)


def test_inverse_grippers_change_sides_and_signs() -> None:
    usual, inverse = parse_episode(DUAL, "one"), parse_episode(DUAL, "one", inverse_gripper=True)
    grippers, squeezes = [7, 15], [6, 13]
    np.testing.assert_allclose(inverse.states[:, grippers], 1 - usual.states[:, grippers])
    ours, theirs = universal_actions(inverse), universal_actions(usual)
    np.testing.assert_allclose(ours[:, squeezes], -theirs[:, squeezes])
    rest = [i for i in range(14) if i not in squeezes]
    np.testing.assert_array_equal(ours[:, rest], theirs[:, rest])


@pytest.mark.parametrize("width", [7, 12])
def test_raw_actions_are_cut_to_the_arm(width: int) -> None:
    raw = [[*row, *([0.5] * (width - 7))] for row in RAW["actions"]["raw_actions"]]
    episode = parse_episode(changed(RAW, "actions", "raw_actions", to=raw), "two")
    actions = cut(episode, ClipPlan(), 1).actions
    np.testing.assert_array_equal(actions[:, :6], np.array(raw)[1:33, :6])
    np.testing.assert_array_equal(actions[:, 6], -np.array(raw)[1:33, 6])
    with pytest.raises(ValueError, match="6 numbers"):
        from_controller(np.zeros(6))


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 4))
def test_windows_hold_whole_actions(frames: int, per_frame: int, action_skip: int) -> None:
    plan = ClipPlan(frames, per_frame * action_skip, action_skip)
    episode_frames = plan.span + 3
    assert list(plan.starts(episode_frames)) == [0, 1, 2]
    assert plan.starts(plan.span) == range(0)
    seen, acts = plan.frame_ids(2), plan.action_ids(2)
    assert len(seen) == frames and len(acts) == (frames - 1) * per_frame
    assert seen[-1] == plan.span + 2 < episode_frames
    assert acts[::per_frame] == seen[:-1]


def test_longer_actions_lead_as_far_as_what_they_skip() -> None:
    episode = parse_episode(DUAL, "one")
    assert episode.targets is not None
    short, long = cut(episode, ClipPlan(9, 4, 1), 0), cut(episode, ClipPlan(9, 4, 2), 0)
    assert short.actions.shape == (32, 14) and long.actions.shape == (16, 14)
    np.testing.assert_array_equal(short.states, long.states)
    for i, action in enumerate(long.actions):
        reached = poses.integrate(episode.states[2 * i], action)
        wanted = episode.targets[2 * i + 1].copy()
        wanted[[7, 15]] = episode.states[2 * i + 2, [7, 15]]
        np.testing.assert_allclose(reached, wanted, atol=1e-9)
    with pytest.raises(ValueError, match="no whole number of actions"):
        ClipPlan(9, 4, 3)
    with pytest.raises(ValueError, match="starts at frame 9 of 41"):
        cut(episode, ClipPlan(), 9)


def test_the_absent_arm_is_masked() -> None:
    values, mask = padded(np.ones((2, 3, 7)), 14)
    assert values.shape == mask.shape == (2, 3, 14)
    assert mask[..., :7].all() and not mask[..., 7:].any() and not values[..., 7:].any()


def test_depth_per_view_fills_the_range() -> None:
    frames = torch.randint(80, 120, (3, 8, 10, 3), dtype=torch.uint8)
    frames[0, 0, 0], frames[1, 1, 1] = 79, 120
    plain, stretched = depth_frames(frames, (8, 10)), depth_frames(frames, (8, 10), per_view=True)
    assert (stretched.min(), stretched.max()) == (-1, 1)
    assert torch.corrcoef(torch.stack([plain.flatten(), stretched.flatten()]))[0, 1] > 1 - 1e-6
    assert torch.isfinite(depth_frames(torch.full((1, 4, 4, 3), 7, dtype=torch.uint8), (4, 4), True)).all()
    with pytest.raises(ValueError, match="uint8, T H W 3"):
        rgb_frames(frames.float(), (8, 10))


def not_a_number(rows: list[list[float]]) -> list[list[float]]:
    rows[5][1] = float("nan")
    return rows


def mirrored(rows: list[list[float]]) -> list[list[float]]:
    return [[*row[:6], *(-value for value in row[6:])] for row in rows]


BAD = [
    (changed(DUAL, "num_frames", drop=True), "no 'num_frames'"),
    (changed(DUAL, "observations", to=7), "no episode of the authors' layout"),
    (changed(DUAL, "num_frames", to=40), "41 rows, the episode has 40 frames"),
    (changed(DUAL, "proprios", "left_ee_pos", to=not_a_number), "left_ee_pos: NaN .* at frame 5"),
    (changed(DUAL, "proprios", "left_ee_pos", drop=True), "has a right arm only"),
    (changed(DUAL, "actions", "right_ee_pos", drop=True), "not of the same arms"),
    (changed(DUAL, "actions", "right_ee_rotm", to=mirrored), "right_ee_rotm: left-handed"),
    (changed(DUAL, "proprios", "left_ee_rotm", to=lambda m: (2 * np.array(m)).tolist()), "not orthonormal"),
    (changed(DUAL, "proprios", "left_ee_rotm", to=[[1.0, 0.5, 0, 0]] * 41), "not of length 1"),
    (changed(DUAL, "proprios", "left_ee_rotm", to=[[1.0] * 5] * 41), "5 numbers per rotation"),
    (changed(DUAL, "proprios", "left_ee_rotm", drop=True), "no rotation of the left end effector"),
    (changed(DUAL, "proprios", "left_gripper_pos", drop=True), "left_gripper_pos is missing"),
    (changed(DUAL, "proprios", "left_gripper_pos", to=[["open"]] * 41), "not a table of numbers"),
]


@pytest.mark.parametrize(("content", "why"), BAD, ids=[why for _, why in BAD])
def test_bad_episodes_are_named_and_told_why(content: dict[str, Any], why: str) -> None:
    with pytest.raises(BadEpisodeError, match=rf"episode_17.*({why})"):
        episode = parse_episode(content, "episode_17")
        universal_actions(episode)
