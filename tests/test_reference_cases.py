"""Recordings that the visible folder does not hold: does compare_with_reference.py compare them, and rightly?

A folder of the same kind is written here, its numbers computed with scipy and plain loops: actions of two
frames, raw actions of twelve numbers, rotation vectors, inverse grippers, depth stretched per view. Each must
pass, and each must fail when the one thing that it is about is done wrong.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.compare import find_cases
from reference.folder import GoldenFolder
from reference.measure import Outcome, run_case
from safetensors.numpy import save_file
from scipy.spatial.transform import Rotation

from lerobot_xwam.data.authors_layout import clips, episode, frames

GOLDEN = Path(__file__).parent / "golden"
DUAL = json.loads((GOLDEN / "episode_dual.json").read_text())
RAW = json.loads((GOLDEN / "episode_raw.json").read_text())
SAID = json.loads((GOLDEN / "dataset.json").read_text())
SEEN, SKIP, START = 9, 4, 3
SIZE = (6, 8)
Content = dict[str, Any]


def plain(content: Content, side: str, inverse: bool) -> tuple[list, list, list]:
    """Positions, rotations and grippers of one arm, read without our code. -> of proprios; of actions"""
    out = []
    for group in ("proprios", "actions"):
        part = content[group]
        if f"{side}_ee_rotvec" in part:
            turns = Rotation.from_rotvec(part[f"{side}_ee_rotvec"])
        else:
            turns = Rotation.from_matrix(np.reshape(part[f"{side}_ee_rotm"], (-1, 3, 3)))
        grip = np.array(part.get(f"{side}_gripper_pos", np.zeros((len(turns), 1))))[:, 0]
        out.append((np.array(part[f"{side}_ee_pos"]), turns, 1 - grip if inverse else grip))
    return out  # type: ignore[return-value]


def expected(content: Content, kw: Content, stats: Content) -> dict[str, np.ndarray]:
    """One window, arm by arm, action by action."""
    skip, inverse = kw.get("action_skip", 1), kw.get("inverse_gripper", False)
    seen = [START + SKIP * i for i in range(SEEN)]
    acted = range(START, START + SKIP * (SEEN - 1), skip)
    raw = content["actions"].get("raw_actions")
    states, actions = np.zeros((SEEN, 16)), np.zeros((len(acted), 14))
    state_mask, action_mask = np.zeros_like(states), np.zeros_like(actions)
    low, high = stats["q01"], stats["q99"]
    grip_low, grip_high = low["gripper_pos"][0], high["gripper_pos"][0]
    for arm, side in enumerate(("left", "right")):
        if f"{side}_ee_pos" not in content["proprios"]:
            continue
        (place, turn, grip), (goal, goal_turn, _) = plain(content, side, inverse)
        state_mask[:, 8 * arm : 8 * arm + 8] = action_mask[:, 7 * arm : 7 * arm + 7] = 1
        xyz = [np.array(each[f"proprio_{side}_ee_xyz"]) for each in (low, high)]
        moved, turned = (np.array(high[f"action_{side}_ee_{what}"]) for what in ("xyz", "axisangle"))
        for row, frame in enumerate(seen):
            states[row, 8 * arm : 8 * arm + 3] = 2 * (place[frame] - xyz[0]) / (xyz[1] - xyz[0]) - 1
            quaternion = turn[frame].as_quat(canonical=True, scalar_first=True)
            states[row, 8 * arm + 3 : 8 * arm + 7] = quaternion
            states[row, 8 * arm + 7] = 2 * (grip[frame] - grip_low) / (grip_high - grip_low) - 1
        for row, frame in enumerate(acted):
            if raw is not None:
                values = np.array(raw[frame][:7])
                parts = values[:3], values[3:6], -values[6]
            else:
                last = frame + skip - 1
                spin = (goal_turn[last] * turn[frame].inv()).as_rotvec()
                parts = goal[last] - place[frame], spin, grip[frame + skip] - grip[frame]
            actions[row, 7 * arm : 7 * arm + 3] = parts[0] / moved
            actions[row, 7 * arm + 3 : 7 * arm + 6] = parts[1] / turned
            actions[row, 7 * arm + 6] = parts[2] / high["gripper_action"][0]
    return {"proprios": states, "actions": actions, "proprio_mask": state_mask, "action_mask": action_mask}


def rotvecs(content: Content) -> Content:
    content = copy.deepcopy(content)
    for group in ("proprios", "actions"):
        for side in ("left", "right"):
            matrices = np.reshape(content[group].pop(f"{side}_ee_rotm"), (-1, 3, 3))
            content[group][f"{side}_ee_rotvec"] = Rotation.from_matrix(matrices).as_rotvec().tolist()
    return content


def twelve(content: Content) -> Content:
    content = copy.deepcopy(content)
    content["actions"]["raw_actions"] = [
        [*row[:7], 0.3, -0.2, 0.1, 0.0, -1.0] for row in RAW["actions"]["raw_actions"]
    ]
    return content


CASES: dict[str, tuple[Content, Content, str]] = {  # -> episode, settings, statistics
    "skip2": (DUAL, {"action_skip": 2}, "robotwin"),
    "raw12": (twelve(RAW), {}, "robocasa"),
    "rotvec": (rotvecs(DUAL), {}, "robotwin"),
    "inverse": (DUAL, {"inverse_gripper": True}, "robotwin"),
    "perview": (DUAL, {"normalize_depths_per_view": True}, "robotwin"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recording")
    for name in ("config.json", "xwam_model.safetensors"):
        shutil.copy(GOLDEN / name, root / name)
    stats = {key: value for key, value in SAID.items() if key.startswith("stats_")}
    said, tensors = {**stats, "cases": {}}, {}
    for name, (content, more, which) in CASES.items():
        kw = {"sequence_length": SEEN, "frame_skip": SKIP, "video_size": list(SIZE), **more}
        (root / f"episode_{name}.json").write_text(json.dumps(content))
        said["cases"][name] = {"kw": kw, "clip_start_frames": [START], "stats": which}
        for key, values in expected(content, kw, SAID[f"stats_{which}"]).items():
            tensors[f"{name}.0.{key}"] = values.astype(np.float32)
    tensors |= seen_by_cameras()
    # Of arrays in another order than C's, safetensors writes the memory as it lies.
    save_file(
        {key: np.ascontiguousarray(each) for key, each in tensors.items()}, root / "dataset.safetensors"
    )
    (root / "dataset.json").write_text(json.dumps(said))
    return root


def seen_by_cameras() -> dict[str, np.ndarray]:
    """Frames of the size that is wanted, so that nothing is resized; each view has a range of its own."""
    random, found = np.random.default_rng(0), {}
    video, depth = [], []
    for number, name in enumerate(sorted(DUAL["observations"])):
        begin = DUAL["observations"][name]["start"]
        shape = (begin + DUAL["num_frames"], *SIZE)
        rgb = random.integers(0, 256, (*shape, 3)).astype(np.uint8)
        grey = random.integers(20 + 30 * number, 90 + 50 * number, shape).astype(np.uint8)
        found[f"perview.raw.{name}.rgb_path"] = rgb
        found[f"perview.raw.{name}.depth_path"] = np.repeat(grey[..., None], 3, axis=-1)
        at = [begin + START + SKIP * i for i in range(SEEN)]
        video.append(np.moveaxis(rgb[at].astype(np.float32) / 127.5 - 1, -1, 1))
        code = grey[at].astype(np.float32) / 127.5 - 1
        stretched = 2 * (code - code.min()) / (code.max() - code.min()) - 1
        depth.append(np.repeat(stretched[:, None], 3, axis=1))
    return found | {"perview.0.video": np.stack(video), "perview.0.depths": np.stack(depth)}


def outcome(folder: Path, name: str) -> Outcome:
    cases, _ = find_cases(GoldenFolder(folder))
    return run_case(next(case for case in cases if case.name == f"dataset.{name}"))


@pytest.mark.parametrize("name", CASES)
def test_what_the_visible_folder_lacks_is_compared(name: str, folder: Path) -> None:
    found = outcome(folder, name)
    assert found.status == "PASS", (found.message, [m for m in found.measures if not m.passed])
    compared = {measure.what for measure in found.measures}
    assert {"0.actions", "0.proprios", "0.action_mask", "0.proprio_mask"} <= compared
    assert ("0.depths" in compared) == (name == "perview")


def one_frame_actions(patch: pytest.MonkeyPatch) -> None:
    right = clips.actions_towards
    patch.setattr(clips, "actions_towards", lambda states, targets, skip: right(states, targets, 1))


def last_seven(patch: pytest.MonkeyPatch) -> None:
    right = clips.from_controller
    patch.setattr(clips, "from_controller", lambda raw: right(raw[..., -7:]))


def rotvec_backwards(patch: pytest.MonkeyPatch) -> None:
    right = episode.rotation_matrices

    def turned(values: np.ndarray, form: str, where: str) -> np.ndarray:
        return right(-values if form == "axis_angle" else values, form, where)

    patch.setattr(episode, "rotation_matrices", turned)


def grippers_as_they_are(patch: pytest.MonkeyPatch) -> None:
    right = episode._arm
    patch.setattr(episode, "_arm", lambda *arguments: right(*arguments[:-1], False))


def one_range_for_all(patch: pytest.MonkeyPatch) -> None:
    right = frames.resize
    patch.setattr(
        frames, "resize", lambda x, size, depth=False: right(x, size, depth=depth) * (1 - 0.01 * depth)
    )
    patch.setattr(torch.Tensor, "min", lambda self: torch.tensor(-1.0))


MISTAKES: list[tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = [
    ("skip2", one_frame_actions, "0.actions"),
    ("raw12", last_seven, "0.actions"),
    ("rotvec", rotvec_backwards, "0.proprios"),
    ("inverse", grippers_as_they_are, "0.actions"),
    ("perview", one_range_for_all, "0.depths"),
]


@pytest.mark.parametrize(("name", "spoil", "where"), MISTAKES, ids=[name for name, *_ in MISTAKES])
def test_a_mistake_in_it_is_seen(
    name: str, spoil: Callable, where: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    found = outcome(folder, name)
    assert found.status == "FAIL" and not found.message
    assert where in [measure.what for measure in found.measures if not measure.passed]
