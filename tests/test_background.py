"""Dispatch, then imagine: never late, never leaking, never in the robot's way."""

from __future__ import annotations

import copy
import logging
import pickle
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from toys import pack, random_frames, small_config, wake_up

from lerobot_xwam.acting.background import Background, Imagined, _end
from lerobot_xwam.data.batch import Observation
from lerobot_xwam.imagination import stack_rollout
from lerobot_xwam.modeling_xwam import XWAMPolicy

PATIENCE = 60.0  # seconds: for what must happen, on a machine that is busy


def seen(config: Any, seed: int = 0) -> dict[str, Any]:
    frames = random_frames(config, 1, seed)
    now = {key: frames[key][:, 0] for key in (*config.cameras, "observation.state")}
    return pack(config, {**now, "task": frames["task"]})


def make(**settings: Any) -> tuple[XWAMPolicy, dict[str, Any]]:
    config = small_config(**{"inference_seed": 3, "imagine": "background", "video_steps": 6, **settings})
    policy, batch = wake_up(XWAMPolicy(config)).eval(), seen(config)
    policy.config.imagine, kept = "off", policy.config.imagine
    policy.predict_action_chunk(batch)  # codecs and prompt
    policy.config.imagine = kept
    policy.reset()
    return policy, batch


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xwam-imagines"]


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    yield
    for thread in threads():
        thread.join(PATIENCE)
    assert not threads()


class Gate:
    """Lets the network's calls in the background wait until they may go on."""

    def __init__(self, policy: XWAMPolicy) -> None:
        self.calls = 0  # begun in the background
        self.inside, self.open = threading.Event(), threading.Event()
        self._hook = policy.net.register_forward_pre_hook(self._called)

    def _called(self, *_: Any) -> None:
        if threading.current_thread() in threads():
            self.calls += 1
            self.inside.set()
            assert self.open.wait(PATIENCE)


def test_it_is_the_imagination_that_one_would_have_waited_for() -> None:
    policy, batch = make(save_predicted_video=True)
    imagination = policy.imagine(Observation.of(batch))
    wanted = imagination.finish(imagination.draft())
    actions = policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE)
    imagined = policy.last_imagined
    assert imagined is not None and imagined.chunk == 0
    assert torch.equal(imagined.rollout.latents.video, wanted.latents.video)
    assert torch.equal(imagined.rollout.latents.actions, actions)
    assert torch.equal(policy.last_predicted_latents, stack_rollout(wanted))
    policy.reset()
    assert policy.last_imagined is None and policy.last_predicted_latents is None


def test_actions_do_not_wait_for_it() -> None:
    policy, batch = make()
    gate = Gate(policy)
    actions = policy.predict_action_chunk(batch)  # would never return if it waited
    assert gate.inside.wait(PATIENCE)
    policy.config.imagine = "off"
    gate.open.set()
    assert torch.equal(policy.predict_action_chunk(batch), actions)


def test_the_next_observation_waits_for_one_call_at_most() -> None:
    policy, batch = make(video_steps=30)
    gate = Gate(policy)
    policy.predict_action_chunk(batch)
    assert gate.inside.wait(PATIENCE)
    done: list[torch.Tensor] = []
    policy.config.imagine = "off"
    acting = threading.Thread(target=lambda: done.append(policy.predict_action_chunk(batch)))
    acting.start()
    while not policy.background._job.stopping.is_set():
        time.sleep(0.001)
    assert not done  # the network is in use
    gate.open.set()
    acting.join(PATIENCE)
    assert len(done) == 1 and gate.calls == 1
    assert policy.background.wait(PATIENCE)
    assert (policy.background.stopped, policy.background.finished) == (1, 0)
    assert policy.last_imagined is None


def test_it_delays_no_action_by_more_than_a_call() -> None:
    """Measured, with a network of 150 ms a call and two calls a chunk: when an observation comes in the
    middle of an imagination, and when it comes after it.
    """
    policy, batch = make(video_steps=4)
    policy.net.register_forward_pre_hook(lambda *_: time.sleep(0.15))

    def usual(imagine: str, pause: float | None) -> float:
        policy.config.imagine = imagine
        took = []
        for _ in range(5):
            begin = time.perf_counter()
            policy.predict_action_chunk(batch)
            took.append(time.perf_counter() - begin)
            if pause is None:
                assert policy.background.wait(PATIENCE)
            else:
                time.sleep(pause)
        policy.background.stop()
        return statistics.median(took[1:])

    off, busy, idle = usual("off", 0.0), usual("background", 0.08), usual("background", None)
    print(
        f"a chunk: {1000 * off:.0f} ms, during an imagination {1000 * busy:.0f}, after it {1000 * idle:.0f}"
    )
    one_call = off / 2
    assert off >= 0.3
    assert busy - off < 1.5 * one_call
    assert idle - off < 0.5 * one_call
    assert policy.background.finished == 5 and policy.background.stopped == 5


def test_every_nth() -> None:
    policy, batch = make(imagine="every_n", imagine_every_n=3)
    told: list[int] = []
    policy.on_imagined = lambda imagined: told.append(imagined.chunk)
    for _ in range(7):
        policy.predict_action_chunk(batch)
        assert policy.background.wait(PATIENCE)
    assert told == [0, 3, 6]
    policy.reset()
    policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE)
    assert told == [0, 3, 6, 0]


def test_off_is_off() -> None:
    policy, batch = make(imagine="off")
    calls: list[int] = []
    policy.net.register_forward_pre_hook(lambda *_: calls.append(1))
    policy.predict_action_chunk(batch)
    assert len(calls) == policy.config.action_steps and not threads()
    assert policy.last_imagined is None


def test_many_chunks_leave_no_thread() -> None:
    policy, batch = make(video_steps=20)
    most = 0
    for _ in range(30):
        policy.predict_action_chunk(batch)
        most = max(most, len(threads()))
    assert policy.background.wait(PATIENCE)
    assert most <= 2  # one at work, one on its way out
    assert policy.background.finished + policy.background.stopped == 30
    assert policy.background.failed == policy.background.skipped == 0


def test_an_exception_is_said_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    policy, batch = make()
    wanted = policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE)

    def breaks(*_: Any) -> None:
        if threading.current_thread() in threads():
            raise RuntimeError("out of memory")

    hook = policy.net.register_forward_pre_hook(breaks)
    with caplog.at_level(logging.ERROR, logger="lerobot_xwam"):
        for _ in range(3):
            assert torch.equal(policy.predict_action_chunk(batch), wanted)
            assert policy.background.wait(PATIENCE)
    assert policy.background.failed == 3
    (record,) = caplog.records
    assert "robot goes on" in record.message and "out of memory" in str(record.exc_info[1])
    hook.remove()
    policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE)
    assert policy.background.finished == 2


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    policy, batch = make()

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with caplog.at_level(logging.ERROR, logger="lerobot_xwam"):
            policy.predict_action_chunk(batch)
    assert policy.background.failed == 1 and len(caplog.records) == 1
    policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE) and policy.background.finished == 1


def test_a_reset_forgets_what_is_being_imagined() -> None:
    policy, batch = make(save_predicted_video=True)
    gate = Gate(policy)
    told: list[Imagined] = []
    policy.on_imagined = told.append
    policy.predict_action_chunk(batch)
    assert gate.inside.wait(PATIENCE)
    resetting = threading.Thread(target=policy.reset)  # LeRobot resets from another thread than it acts in
    resetting.start()
    gate.open.set()
    resetting.join(PATIENCE)
    assert policy.background.wait(PATIENCE)
    assert policy.last_imagined is None and policy.last_predicted_latents is None and not told
    policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE)
    assert [imagined.chunk for imagined in told] == [0]


def test_a_chunk_of_the_last_episode_is_not_imagined_in_the_next() -> None:
    policy, batch = make()
    imagination = policy.imagine(Observation.of(batch))
    draft, episode = imagination.draft(), policy.background.stop()
    policy.reset()
    assert not policy.background.start(imagination, draft, 0, episode, policy._keep)
    assert not threads()


def test_who_listens_slowly_misses_some_but_delays_nothing() -> None:
    policy, batch = make()
    listening, go_on = threading.Event(), threading.Event()

    def listen(_: Imagined) -> None:
        listening.set()
        assert go_on.wait(PATIENCE)

    policy.on_imagined = listen
    policy.predict_action_chunk(batch)
    assert listening.wait(PATIENCE)
    for _ in range(3):
        policy.predict_action_chunk(batch)  # would never return
    assert policy.background.skipped == 3 and len(threads()) == 1
    go_on.set()
    assert policy.background.wait(PATIENCE)
    policy.predict_action_chunk(batch)
    assert policy.background.wait(PATIENCE) and policy.background.finished == 2


def test_a_listener_may_break_and_may_reset(caplog: pytest.LogCaptureFixture) -> None:
    policy, batch = make()

    def listen(_: Imagined) -> None:
        policy.reset()
        raise ValueError("no room on the disk")

    policy.on_imagined = listen
    with caplog.at_level(logging.ERROR, logger="lerobot_xwam"):
        policy.predict_action_chunk(batch)
        assert policy.background.wait(PATIENCE)
    assert policy.background.failed == 1 and "no room" in str(caplog.records[0].exc_info[1])


def test_inference_mode_as_lerobot_has_it_in_sync_rollouts() -> None:
    policy, batch = make(n_action_steps=2)
    with torch.inference_mode():
        policy.select_action(batch)
    assert policy.background.wait(PATIENCE)
    assert policy.background.finished == 1
    policy.predict_action_chunk(batch, inference_delay=2, prev_chunk_left_over=torch.randn(5, 14))
    assert policy.background.wait(PATIENCE) and policy.background.finished == 2


def test_a_copy_has_a_background_of_its_own() -> None:
    policy, batch = make()
    gate = Gate(policy)
    policy.predict_action_chunk(batch)
    assert gate.inside.wait(PATIENCE)
    other = copy.deepcopy(policy.background)
    assert not other.is_busy and policy.background.is_busy
    assert isinstance(pickle.loads(pickle.dumps(policy.background)), Background)
    gate.open.set()


def test_training_waits_until_nobody_imagines() -> None:
    policy, batch = make(video_steps=30)
    gate = Gate(policy)
    policy.predict_action_chunk(batch)
    assert gate.inside.wait(PATIENCE)
    gate.open.set()
    policy.train()
    assert policy.background.wait(PATIENCE)
    assert policy.background.stopped == 1


def test_the_end_of_the_program_ends_it() -> None:
    policy, batch = make(video_steps=30)
    gate = Gate(policy)
    policy.predict_action_chunk(batch)
    assert gate.inside.wait(PATIENCE)
    threading.Timer(0.05, gate.open.set).start()
    _end(policy.background._jobs)
    assert not threads() and gate.calls == 1


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """The same film, while the robot's stream is never behind the imagination's."""
    policy, batch = make(device="cuda")
    policy = policy.to("cuda")
    batch = {k: v.to("cuda") if torch.is_tensor(v) else v for k, v in batch.items()}
    imagination = policy.imagine(Observation.of(batch))
    wanted = imagination.finish(imagination.draft())
    for _ in range(3):
        policy.predict_action_chunk(batch).cpu()
    assert policy.background.wait(PATIENCE)
    assert policy.last_imagined is not None
    torch.testing.assert_close(policy.last_imagined.rollout.latents.video, wanted.latents.video)
