"""Real-time chunking in LeRobot's own engine: its loop, its queue and its thread around our policy."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.rollout.inference import rtc
from torch import Tensor
from toys import small_config, wake_up

from lerobot_xwam.modeling_xwam import XWAMPolicy


@dataclass
class World:
    """A robot of 15 Hz whose policy needs 0.4 s: while it thinks, 6 actions are executed."""

    engine: Any = None
    now: float = 0.0
    sent: list[Tensor] = field(default_factory=list)
    calls: list[tuple[int, Tensor | None, Tensor]] = field(default_factory=list)

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.tick()

    def tick(self) -> None:
        self.now += 1 / 15 - 1e-6  # just inside of the tick
        action = self.engine.get_action(None)
        if action is not None:
            self.sent.append(action)
        if len(self.sent) >= 120:
            self.engine._shutdown_event.set()


JOINTS = [f"joint_{i}.pos" for i in range(6)]
OBSERVATION = {**dict.fromkeys(JOINTS, 0.1), "front": np.zeros((40, 56, 3), np.uint8)}


def engine_of(policy: XWAMPolicy, pre: Any, post: Any, fps: float) -> rtc.RTCInferenceEngine:
    return rtc.RTCInferenceEngine(
        policy=policy,
        preprocessor=pre,
        postprocessor=post,
        robot_wrapper=SimpleNamespace(robot_type="mock", action_features=dict.fromkeys(JOINTS[:5], float)),
        rtc_config=RTCConfig(execution_horizon=17),
        hw_features={
            "observation.state": {"dtype": "float32", "shape": (6,), "names": JOINTS},
            "observation.images.front": {"dtype": "video", "shape": (40, 56, 3), "names": ["height"]},
        },
        task="lift the cube",
        fps=fps,
        device="cpu",
        rtc_queue_threshold=17,
    )


def test_lerobots_engine_runs_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's deployment: 15 Hz, 15 actions of each chunk, 6 of delay. LeRobot's own loop and queue."""
    config = small_config(num_frames=9, action_guard="finite")
    policy = wake_up(XWAMPolicy(config)).eval()
    pre, post = make_pre_post_processors(config)
    world = World()
    predict = policy.predict_action_chunk

    def predict_slowly(batch: Any, *, inference_delay: int, prev_chunk_left_over: Tensor | None) -> Tensor:
        chunk = predict(batch, inference_delay=inference_delay, prev_chunk_left_over=prev_chunk_left_over)
        world.calls.append((inference_delay, prev_chunk_left_over, chunk[0]))
        for _ in range(6):
            world.tick()
        return chunk

    monkeypatch.setattr(rtc, "time", world)
    policy.predict_action_chunk = predict_slowly
    engine = engine_of(policy, pre, post, fps=15)
    policy.config.rtc_config = engine._rtc_config
    policy.init_rtc_processor()
    world.engine, engine._action_queue = engine, rtc.ActionQueue(engine._rtc_config)
    engine.notify_observation(OBSERVATION)
    engine.resume()
    engine._rtc_loop()

    assert not engine.failed
    assert len(world.calls) >= 7
    delays = [delay for delay, _, _ in world.calls]
    assert delays[0] == 0 and set(delays[1:]) == {6}
    assert world.calls[0][1] is None
    for _, left_over, chunk in world.calls[1:]:
        assert left_over.shape == (17, 14)
        assert torch.equal(chunk[:6], left_over[:6])
    # No gap: from the first action on there was one at every tick.
    assert world.now * 15 == pytest.approx(len(world.sent) + 6, abs=1)
    # What was executed is what the chunks said: 15 of each, in order, from the 6th of the first.
    said = torch.cat([chunk[6:21] for _, _, chunk in world.calls])[: len(world.sent)]
    torch.testing.assert_close(torch.stack(world.sent)[: len(said)], post(said)[:, :5])


def test_with_lerobots_thread_and_ours() -> None:
    """In real time: LeRobot's thread makes chunks, ours imagines them, the main thread resets in between."""
    config = small_config(num_frames=9, imagine="background", video_steps=8)
    policy = wake_up(XWAMPolicy(config)).eval()
    pre, post = make_pre_post_processors(config)
    engine = engine_of(policy, pre, post, fps=5)
    policy.config.rtc_config = engine._rtc_config
    policy.init_rtc_processor()
    imagined: list[int] = []
    policy.on_imagined = lambda each: imagined.append(each.chunk)
    asked: list[bool] = []  # of every chunk: whether its imagination was begun
    begin = policy.background.start

    def start(*given: Any, **more: Any) -> bool:
        asked.append(begin(*given, **more))
        return asked[-1]

    policy.background.start = start
    engine.start()
    engine.notify_observation(OBSERVATION)
    engine.resume()
    try:
        for _ in range(2):  # episodes
            sent, until = 0, time.monotonic() + 60
            while sent < 40 and time.monotonic() < until and not engine.failed:
                action = engine.get_action(None)
                if action is None:
                    time.sleep(0.01)
                    continue
                assert torch.isfinite(action).all()
                sent += 1
                time.sleep(0.005)
            assert sent == 40
            engine.reset()
    finally:
        engine.stop()
        for thread in threading.enumerate():
            if thread.name == "RTCInference":  # LeRobot gives up waiting after three seconds
                thread.join(60)
    assert not engine.failed
    assert policy.background.wait(60)
    # A chunk that LeRobot's thread was at when the episode ended is not imagined: its actions begin the next.
    assert len(asked) >= 4 and sum(asked) >= 3
    assert policy.background.finished + policy.background.stopped == sum(asked)
    assert policy.background.failed == 0
    assert len(imagined) == policy.background.finished
    assert not [
        thread for thread in threading.enumerate() if thread.name in ("xwam-imagines", "RTCInference")
    ]
