"""Real-time chunking, what the policy does with a plan: exact prefixes, LeRobot's schedules, clear errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.rollout.inference import rtc
from torch import Tensor
from toys import pack, random_frames, small_config, wake_up

from lerobot_xwam.acting import chunking
from lerobot_xwam.acting.chunking import LastPlan
from lerobot_xwam.model.prefix import overlap_weights
from lerobot_xwam.modeling_xwam import XWAMPolicy

WHOLE = 16  # actions of a chunk of `small_config`


def seen(config: Any, batch: int = 1) -> dict[str, Any]:
    """A packed observation."""
    frames = random_frames(config, batch)
    now = {key: frames[key][:, 0] for key in (*config.cameras, "observation.state")}
    return pack(config, {**now, "task": frames["task"]})


@pytest.fixture
def policy() -> XWAMPolicy:
    return wake_up(XWAMPolicy(small_config(inference_seed=3))).eval()


@pytest.fixture(autouse=True)
def warnings_are_new() -> Iterator[None]:
    chunking._said.clear()
    yield


def test_a_whole_chunk_that_is_given_comes_back_unchanged(policy: XWAMPolicy) -> None:
    batch = seen(policy.config)
    last = torch.randn(WHOLE, 14)
    again = policy.predict_action_chunk(batch, inference_delay=WHOLE, prev_chunk_left_over=last)
    assert torch.equal(again, last[None])


@pytest.mark.parametrize("shape", ["n A", "B n A"])
def test_the_prefix_comes_back_to_the_bit_and_steers_the_rest(policy: XWAMPolicy, shape: str) -> None:
    batch = seen(policy.config, batch=2)
    plain = policy.predict_action_chunk(batch)
    left_over = torch.randn(7, 14) if shape == "n A" else torch.randn(2, 7, 14)
    chunk = policy.predict_action_chunk(batch, inference_delay=4, prev_chunk_left_over=left_over)
    assert torch.equal(chunk[:, :4], left_over[..., :4, :].expand(2, -1, -1))
    far = (chunk - plain).abs().mean(dim=(0, 2))
    assert (far[4:] > 1e-3).all()


def test_without_delay_it_is_the_plain_chunk(policy: XWAMPolicy) -> None:
    batch, left_over = seen(policy.config), torch.randn(9, 14)
    plain = policy.predict_action_chunk(batch)
    assert torch.equal(policy.predict_action_chunk(batch, inference_delay=0), plain)
    for given in (None, left_over, left_over[:0], torch.zeros(10, 14)):
        chunk = policy.predict_action_chunk(batch, inference_delay=0, prev_chunk_left_over=given)
        assert torch.equal(chunk, plain)
    for empty in (None, left_over[:0], torch.zeros(10, 14)):  # LeRobot fills an empty rest up with zeros
        chunk = policy.predict_action_chunk(batch, inference_delay=5, prev_chunk_left_over=empty)
        assert torch.equal(chunk, plain)
    policy.config.rtc_config = RTCConfig(enabled=False)  # then LeRobot appends chunks, it bridges nothing
    chunk = policy.predict_action_chunk(batch, inference_delay=5, prev_chunk_left_over=left_over)
    assert torch.equal(chunk, plain)


def test_what_lerobot_fills_up_with_is_no_plan(policy: XWAMPolicy) -> None:
    """Zeros behind the rest, or NaN in it: only the rows before count."""
    batch, rest = seen(policy.config), torch.randn(5, 14)
    wanted = policy.predict_action_chunk(batch, inference_delay=3, prev_chunk_left_over=rest)
    padded = torch.cat([rest, torch.zeros(7, 14)])
    broken = torch.cat([rest, torch.full((1, 14), torch.nan), rest])
    for left_over in (padded, broken):
        chunk = policy.predict_action_chunk(batch, inference_delay=3, prev_chunk_left_over=left_over)
        assert torch.equal(chunk, wanted)


def test_a_delay_beyond_the_rest_is_said_once(policy: XWAMPolicy, caplog: pytest.LogCaptureFixture) -> None:
    batch, rest = seen(policy.config), torch.randn(5, 14)
    with caplog.at_level(logging.WARNING, logger="lerobot_xwam"):
        for _ in range(2):
            chunk = policy.predict_action_chunk(batch, inference_delay=40, prev_chunk_left_over=rest)
    assert torch.equal(chunk[0, :5], rest)
    assert torch.isfinite(chunk).all()
    (record,) = caplog.records
    assert "40 actions, but only 5" in record.message and "queue_threshold" in record.message


def test_wrong_shapes_are_refused(policy: XWAMPolicy) -> None:
    batch = seen(policy.config)
    for wrong in (torch.randn(4, 5), torch.randn(14)):
        with pytest.raises(ValueError, match=r"prev_chunk_left_over.*\(n, 14\)"):
            policy.predict_action_chunk(batch, inference_delay=2, prev_chunk_left_over=wrong)
    with pytest.raises(ValueError, match="inference_delay=-1"):
        policy.predict_action_chunk(batch, inference_delay=-1, prev_chunk_left_over=torch.randn(4, 14))


@pytest.mark.parametrize("method", ["prefix", "guided"])
def test_it_is_called_with_gradients_on(method: str) -> None:
    policy = wake_up(XWAMPolicy(small_config(inference_seed=3, rtc_method=method, action_steps=3))).eval()
    batch, rest = seen(policy.config), torch.randn(8, 14)
    assert torch.is_grad_enabled()
    chunk = policy.predict_action_chunk(batch, inference_delay=3, prev_chunk_left_over=rest)
    assert not chunk.requires_grad and torch.isfinite(chunk).all()
    assert not torch.equal(chunk, policy.predict_action_chunk(batch))
    with torch.inference_mode():
        policy.predict_action_chunk(batch)  # the prompt is remembered from here on
    policy.predict_action_chunk(batch, inference_delay=3, prev_chunk_left_over=rest)


def test_schedules_are_lerobots() -> None:
    for name, decay in chunking.DECAYS.items():
        for committed, known in ((0, 5), (3, 10), (6, 6), (1, 2)):
            theirs = rtc_weights(name, committed, known)
            torch.testing.assert_close(overlap_weights(committed, known, decay), theirs[:known])
    config = small_config()
    config.rtc_config = RTCConfig(execution_horizon=6, prefix_attention_schedule=schedule("ONES"))
    plan = LastPlan.read(torch.randn(9, 14), 2, config)
    assert plan is not None and plan.committed == plan.actions.shape[1] == 6


def schedule(name: str) -> Any:
    return type(RTCConfig().prefix_attention_schedule)[name]


def rtc_weights(name: str, start: int, end: int) -> Tensor:
    from lerobot.policies.rtc.modeling_rtc import RTCProcessor

    config = RTCConfig(prefix_attention_schedule=schedule(name))
    return RTCProcessor(config).get_prefix_weights(start, end, 16)


def test_warming_up_draws_nothing_and_leaves_nothing(policy: XWAMPolicy) -> None:
    state = torch.get_rng_state()
    policy.config.inference_seed = None
    policy.init_rtc_processor()
    assert torch.equal(torch.get_rng_state(), state)
    assert policy.last_imagined is None and not policy._queue
    assert rtc.supports_rtc_inference(policy)
