"""At the border: nothing broken leaves, nothing too far or too fast, nobody acts on a frozen camera."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lerobot.policies.factory import make_pre_post_processors
from toys import ONE_CAMERA, THREE_CAMERAS, make_toy, pack, random_frames, small_config, wake_up

from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.robot_settings import RobotSettings
from lerobot_xwam.safety.guard import XWAMGuardActionStep
from lerobot_xwam.safety.limits import ActionLimits, largest_steps
from lerobot_xwam.safety.watch import FrozenCamera

NAN = torch.nan


def guard(hold: str = "last", limited: bool = True) -> XWAMGuardActionStep:
    """Two dims: one from -1 to 1 by steps of 0.5, one from 0 to 10 by steps of 1."""
    limits = ActionLimits(torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 10.0]), torch.tensor([0.5, 1.0]))
    return XWAMGuardActionStep(limited=limited, hold=hold, limits=limits)


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values)


# --- actions ---


def test_what_is_all_right_passes_to_the_bit(caplog: pytest.LogCaptureFixture) -> None:
    step, path = guard(), torch.stack([torch.linspace(-1, 1, 9), torch.linspace(0, 7, 9)], dim=1)
    assert torch.equal(step.action(path[None]), path[None])
    step.reset()
    assert all(torch.equal(step.action(row[None]), row[None]) for row in path)
    assert not caplog.records


def test_range(caplog: pytest.LogCaptureFixture) -> None:
    step = guard()
    assert torch.equal(step.action(rows([1.7, -3.0])), rows([1.0, 0.0]))
    assert torch.equal(step.action(rows([9.0, 0.5])), rows([1.0, 0.5]))
    (record,) = caplog.records  # said once an episode
    assert "dim 0 wants 1.7" in record.message and "1 is sent" in record.message
    step.reset()
    step.action(rows([0.0, 99.0]))
    assert len(caplog.records) == 2


def test_speed_one_by_one_and_in_a_chunk(caplog: pytest.LogCaptureFixture) -> None:
    wanted = rows([0.0, 5.0], [0.9, 5.0], [0.9, 9.0], [0.9, 9.0])
    allowed = rows([0.0, 5.0], [0.5, 5.0], [0.9, 6.0], [0.9, 7.0])
    step = guard()
    assert torch.equal(torch.cat([step.action(row[None]) for row in wanted]), allowed)
    assert [record.message for record in caplog.records if "larger step" in record.message]
    assert torch.equal(guard().action(wanted[None])[0], allowed)
    step.reset()  # a new episode may begin anywhere
    assert torch.equal(step.action(rows([-1.0, 0.0])), rows([-1.0, 0.0]))


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("broken", [NAN, torch.inf, -torch.inf])
def test_broken_actions_are_held(broken: float, limited: bool, caplog: pytest.LogCaptureFixture) -> None:
    step = guard(limited=limited)
    first = rows([0.2, 4.0])
    assert torch.equal(step.action(first), first)
    assert torch.equal(step.action(rows([0.3, broken])), first)  # the whole action, not half of one
    assert torch.equal(step.action(rows([broken, broken])), first)
    assert torch.equal(step.action(rows([0.3, 4.5])), rows([0.3, 4.5]))
    (record,) = caplog.records
    assert "holding the last one" in record.message
    chunk = rows([0.2, 4.0], [broken, 4.1], [0.2, broken], [0.3, 4.2])
    assert torch.equal(step.action(chunk[None])[0], rows([0.2, 4.0], [0.2, 4.0], [0.2, 4.0], [0.3, 4.2]))


def test_with_nothing_to_hold_on_to_nothing_leaves() -> None:
    with pytest.raises(ValueError, match="nothing was sent"):
        guard().action(rows([NAN, 0.0]))
    step = guard()
    step.action(rows([0.0, 0.0]))
    with pytest.raises(ValueError, match="nothing was sent"):  # a chunk goes on from nobody knows where
        step.action(rows([NAN, 0.0], [0.0, 0.0])[None])


def test_deltas_stand_still() -> None:
    step = guard(hold="still", limited=False)
    assert torch.equal(step.action(rows([NAN, 1.0])), rows([0.0, 0.0]))
    step.action(rows([0.7, 0.7]))
    assert torch.equal(step.action(rows([0.5, NAN])), rows([0.0, 0.0]))


def test_one_of_several_robots_is_broken() -> None:
    step = guard(limited=False)
    step.action(rows([0.1, 1.0], [0.2, 2.0]))
    assert torch.equal(step.action(rows([NAN, 1.0], [0.3, 3.0])), rows([0.1, 1.0], [0.3, 3.0]))
    step.action(rows([0.5, 0.5]))  # another number of them: nothing is carried over
    assert torch.equal(step.action(rows([0.1, 1.0], [0.2, 2.0])), rows([0.1, 1.0], [0.2, 2.0]))


# --- the dataset's limits ---


def test_largest_steps_stay_within_episodes_and_cross_files(tmp_path: Path) -> None:
    actions = np.cumsum(np.random.default_rng(0).normal(size=(40, 3)), axis=0).astype(np.float32)
    actions[17:] += 1000  # the next episode is elsewhere
    episodes = np.repeat([0, 1], [17, 23])
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    for i, part in enumerate((slice(0, 11), slice(11, 30), slice(30, 40))):
        table = pa.table({"action": list(actions[part]), "episode_index": episodes[part]})
        pq.write_table(table, tmp_path / f"data/chunk-000/file-{i:03d}.parquet")
    steps = [np.abs(np.diff(actions[episodes == e], axis=0)).max(axis=0) for e in (0, 1)]
    torch.testing.assert_close(largest_steps(tmp_path, "action"), torch.tensor(np.maximum(*steps)))
    assert largest_steps(tmp_path / "nowhere", "action") is None


def test_targets_are_limited_by_what_the_dataset_shows(tmp_path: Path) -> None:
    """Native actions, by default: every action of the dataset passes, others do not. Saved and loaded."""
    toy = make_toy(ONE_CAMERA)
    (step,) = (step for step in toy.post.steps if isinstance(step, XWAMGuardActionStep))
    assert step.limited and step.hold == "last" and torch.isfinite(step.limits.step).all()
    rows = torch.stack([toy.dataset[i]["action"][0] for i in range(0, len(toy.dataset), 3)])
    chunk = toy.dataset[0]["action"]
    assert torch.equal(step.action(chunk[None]), chunk[None])
    assert torch.equal(guard_without_speed(step).action(rows), rows)
    far = chunk + 1000
    assert (step.action(far[None]) <= step.limits.high).all()

    toy.post.save_pretrained(tmp_path, config_filename="policy_postprocessor.json")
    toy.pre.save_pretrained(tmp_path, config_filename="policy_preprocessor.json")
    _, again = make_pre_post_processors(toy.policy.config, pretrained_path=str(tmp_path))
    wild = 3 * torch.randn(1, 16, 14)
    assert torch.equal(again(wild), toy.post(wild))
    (loaded,) = (step for step in again.steps if isinstance(step, XWAMGuardActionStep))
    torch.testing.assert_close(loaded.limits.state_dict(), step.limits.state_dict(), rtol=0, atol=0)


def guard_without_speed(step: XWAMGuardActionStep) -> XWAMGuardActionStep:
    limits = ActionLimits(step.limits.low, step.limits.high, torch.full_like(step.limits.step, torch.inf))
    return XWAMGuardActionStep(limited=True, hold="last", limits=limits)


@pytest.mark.parametrize(
    ("setting", "limited"), [("auto", False), ("finite", False), ("limits", True), ("off", None)]
)
def test_deltas_are_only_limited_if_asked(setting: str, limited: bool | None) -> None:
    """As the reference: no end-effector delta is clipped."""
    toy = make_toy(THREE_CAMERAS, action_guard=setting)
    steps = [step for step in toy.post.steps if isinstance(step, XWAMGuardActionStep)]
    assert [step.limited for step in steps] == ([] if limited is None else [limited])
    for step in steps:
        assert step.hold == "still" and torch.isinf(step.limits.step).all()
    huge = torch.full((1, 14), 50.0)
    plain = torch.equal(toy.post(huge), make_toy(THREE_CAMERAS, action_guard="off").post(huge))
    assert plain == (not limited)


def test_a_broken_network_moves_nothing() -> None:
    """From the weights to the robot: NaN in the network, and the sync engine's way of calling."""
    config = small_config(n_action_steps=2)
    policy = wake_up(XWAMPolicy(config)).eval()
    _, post = make_pre_post_processors(config)
    batch = seen(config)
    first = [post(policy.select_action(batch)) for _ in range(2)]
    with torch.no_grad():
        policy.net.action_out[-1].weight.fill_(NAN)
    after = [post(policy.select_action(batch)) for _ in range(4)]
    assert all(torch.equal(action, first[-1]) for action in after)


# --- what is seen, and when ---


def seen(config: Any, seed: int = 0) -> dict[str, Any]:
    frames = random_frames(config, 1, seed)
    now = {key: frames[key][:, 0] for key in (*config.cameras, "observation.state")}
    return pack(config, {**now, "task": frames["task"]})


def frozen(batch: dict[str, Any], camera: int, image: torch.Tensor) -> dict[str, Any]:
    video = batch["observation.xwam.video"].clone()
    video[:, camera] = image
    return {**batch, "observation.xwam.video": video}


def make(**settings: Any) -> tuple[XWAMPolicy, list[dict[str, Any]]]:
    """A policy of two cameras, and observations of which the second camera is frozen."""
    config = small_config(cameras=("a", "b"), stale_after=2, **settings)
    batches = [seen(config, seed) for seed in range(5)]
    image = batches[0]["observation.xwam.video"][:, 1]
    return wake_up(XWAMPolicy(config)).eval(), [frozen(batch, 1, image) for batch in batches]


def test_a_frozen_camera_holds_the_robot(caplog: pytest.LogCaptureFixture) -> None:
    policy, batches = make(n_action_steps=3)
    actions = [[policy.select_action(batch) for _ in range(3)] for batch in batches]
    assert not torch.equal(actions[1][-1], actions[0][-1])
    assert not caplog.records[1:]
    last = actions[1][-1]
    assert all(torch.equal(action, last) for chunk in actions[2:] for action in chunk)
    (record,) = caplog.records
    assert "observation.images.b" in record.message and "holding" in record.message
    moved = seen(policy.config, 9)
    assert not torch.equal(policy.select_action(moved), last)  # it is there again


def test_held_in_real_time_chunking() -> None:
    """What is committed runs to its end, then its last target stays."""
    policy, batches = make()
    rest = torch.randn(6, 14)
    for batch in batches[:3]:
        chunk = policy.predict_action_chunk(batch, inference_delay=4, prev_chunk_left_over=rest)
    assert torch.equal(chunk[0, :4], rest[:4])
    assert torch.equal(chunk[0, 4:], rest[3].expand(12, -1))


def test_nothing_to_hold_stops() -> None:
    policy, batches = make()
    policy.predict_action_chunk(batches[0])
    policy.predict_action_chunk(batches[1])
    with pytest.raises(ValueError, match="camera is frozen"):
        policy.predict_action_chunk(batches[2])


@pytest.mark.parametrize("on_stale", ["stop", "log"])
def test_or_stops_it_or_only_says_so(on_stale: str, caplog: pytest.LogCaptureFixture) -> None:
    policy, batches = make(on_stale=on_stale)
    policy.predict_action_chunk(batches[0])
    policy.predict_action_chunk(batches[1])
    if on_stale == "stop":
        with pytest.raises(FrozenCamera, match=r"images\.b: the same image for 3 chunks"):
            policy.predict_action_chunk(batches[2])
    else:
        for batch in batches[2:]:
            policy.predict_action_chunk(batch)
        assert len(caplog.records) == 1 and "holding" not in caplog.records[0].message
    policy.reset()
    policy.predict_action_chunk(batches[0])  # a new episode may begin with the same image


def test_nobody_looks_unless_asked() -> None:
    config = small_config()
    policy, batch = wake_up(XWAMPolicy(config)).eval(), seen(config)
    for _ in range(4):
        policy.predict_action_chunk(batch)
    assert RobotSettings().stale_after == 0


def test_missed_deadlines_are_all_said(caplog: pytest.LogCaptureFixture) -> None:
    config = small_config(deadline_s=1e-9)
    policy, batch = wake_up(XWAMPolicy(config)).eval(), seen(config)
    with caplog.at_level(logging.WARNING, logger="lerobot_xwam"):
        for _ in range(3):
            policy.predict_action_chunk(batch)
        assert policy.watch.late == 3 and policy.watch.slowest > 0
        assert len(caplog.records) == 3 and "3. time" in caplog.records[-1].message
        policy.config.deadline_s = 1000.0
        policy.predict_action_chunk(batch)
    assert policy.watch.late == 3
