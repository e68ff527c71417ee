"""Closed loops around an oracle: it knows the motion, and says it only if its prefix is the motion's, too.

Whatever the loop gets wrong - which actions are left, by how many the delay is off, their order or their
units, an old observation, a chunk that is joined at the wrong row - makes the motion another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from delaying.driving import Driver
from delaying.learning import configuration, fixed
from delaying.posts import REACH, TASK, Scene, demonstration
from lerobot.policies.factory import make_pre_post_processors
from rtc_loop.driving import EXECUTED, drive
from torch import Tensor

from lerobot_xwam.envs.tabletop.expert import Expert
from lerobot_xwam.envs.tabletop.interfaces import action_towards, measure, targets_of
from lerobot_xwam.envs.tabletop.tasks import get_task
from lerobot_xwam.envs.tabletop.world import random_world
from lerobot_xwam.model.prefix import noise_levels
from lerobot_xwam.model.schedule import flow_grid
from lerobot_xwam.model.types import Asked, Latents, Prediction, Times
from lerobot_xwam.modeling_xwam import XWAMPolicy

SEED, HORIZON = 3, 12
STATISTICS = {  # not the same for states and actions, and no middle at zero
    "observation.state": {"q01": np.linspace(-2, 0, 6), "q99": np.linspace(1, 3, 6)},
    "action": {"q01": np.linspace(-3, -1, 5), "q99": np.linspace(2, 4, 5)},
}


@dataclass
class Oracle:
    """The policy with another network: one that has read the demonstration."""

    policy: XWAMPolicy = field(default_factory=lambda: XWAMPolicy(configuration(12)).eval())
    given: list[int] = field(default_factory=list)  # length of every chunk's prefix
    fooled: int = 0  # prefixes that were not the motion's
    beside: float = 0.0  # how far the observation was off the motion: base angle, scaled

    def __post_init__(self) -> None:
        path = torch.from_numpy(demonstration(SEED).targets)
        self.path = torch.cat([path, path[-1:].repeat(40, 1)])  # T 5, robot units
        self.before, self.after = make_pre_post_processors(self.policy.config, dataset_stats=STATISTICS)
        scaling = self.before.steps[-1].scaling if hasattr(self.before.steps[-1], "scaling") else None
        scaling = scaling or next(step.scaling for step in self.before.steps if hasattr(step, "scaling"))
        self.actions, self.states = scaling.action(self.path), (self.path[:, 0] - scaling.state_center[0])
        self.states = self.states / scaling.state_half[0]
        imagine = self.policy.imagine
        self.policy.imagine = lambda seen, noise=None: replace(  # type: ignore[method-assign]
            imagine(seen, noise), denoise=self.denoise
        )

    def denoise(self, x: Latents, times: Times, asked: Asked) -> Prediction:
        seen = x.states[0, 0, 0]
        now = int((self.states[: len(demonstration(SEED).targets)] - seen).abs().argmin())
        self.beside = max(self.beside, float((self.states[now] - seen).abs()))
        clean = self.actions[now + 1 : now + 1 + x.actions.shape[1]]  # K A
        levels = times.levels[0, times.actions.expand(1, -1)[0]]  # K
        length = int((levels == 0).sum())
        self.given.append(length)
        if not (levels[:length] == 0).all() or (x.actions[0, :length] - clean[:length]).abs().gt(1e-4).any():
            self.fooled += 1
            clean = torch.zeros_like(clean)
        sigma = noise_levels(times, flow_grid(self.policy.config.action_steps, self.policy.config.time_shift))
        velocity = (x.actions - clean) / sigma.view(-1, 1, 1)
        return Prediction(Latents(torch.zeros_like(x.video), velocity, torch.zeros_like(x.states)))

    def drive(self, method: str, delay: int) -> np.ndarray:
        """-> joints of every step: T 5"""
        scene, been = Watched.drawn(SEED), []
        scene.been = been
        Driver(self.policy, self.before, self.after, method, delay, HORIZON).drive([scene])
        assert scene.succeeded
        return np.array(been)


@dataclass
class Watched(Scene):
    """Tells where it was."""

    been: list[Any] = field(default_factory=list)

    def step(self, target: Any) -> None:
        if not self.over:
            super().step(target)
            self.been.append(self.joints.copy())


@pytest.mark.parametrize("method", ["prefix", "leaning"])
@pytest.mark.parametrize("delay", range(13))
def test_with_any_delay_the_motion_is_the_undelayed_one(delay: int, method: str) -> None:
    oracle = Oracle()
    been = oracle.drive(method, delay)
    wanted = oracle.path[1 : len(been) + 1].numpy()
    np.testing.assert_allclose(been, wanted, atol=2e-4)
    assert oracle.fooled == 0 and oracle.beside < 1e-3
    assert set(oracle.given) == {0, delay}


def test_an_oracle_notices_a_wrong_prefix() -> None:
    """Of the test above: shifted, reversed or in robot units, the prefix is not the motion's."""
    oracle = Oracle()
    predict = oracle.policy.predict_action_chunk
    spoilt = {
        "late": lambda rows: rows[:, 1:],
        "reversed": lambda rows: rows.flip(1),
        "robot units": oracle.after,
    }
    for name, spoil in spoilt.items():
        before = oracle.fooled

        def wrongly(batch: Any, spoil: Any = spoil, **plan: Any) -> Tensor:
            if plan:
                plan["prev_chunk_left_over"] = spoil(plan["prev_chunk_left_over"])
            return predict(batch, **plan)

        oracle.policy.predict_action_chunk = wrongly  # type: ignore[method-assign]
        scene = Scene.drawn(SEED)
        Driver(oracle.policy, oracle.before, oracle.after, "prefix", 6, HORIZON).drive([scene])
        assert oracle.fooled > before, name


# --- the loop on the mock robot ---


@dataclass
class Sweep:
    """The same oracle for scripts/plot_rtc.py: the base turns steadily, so its angle tells the time."""

    scale: float = 2.5  # robot units of a model unit
    started: Tensor | None = None
    policy: Any = field(default_factory=lambda: SimpleNamespace(reset=lambda: None))
    after: Any = field(default_factory=lambda: SimpleNamespace(reset=lambda: None))
    fooled: int = 0

    def at(self, ticks: Tensor) -> Tensor:
        """Joint targets, robot units.  # n -> n 5"""
        assert self.started is not None
        way = torch.stack([0.01 * ticks, *(0.002 * torch.sin(ticks + joint) for joint in range(4))], dim=1)
        return self.started + way

    def chunk(self, seen: dict[str, Any], **plan: Any) -> Tensor:
        joints = torch.from_numpy(seen["observation.state"])
        if self.started is None:
            self.started = joints
        now = int(((joints[0] - self.started[0]) / 0.01).round())  # the servo lags by a part of one tick
        said = self.at(torch.arange(now + 1, now + 33).float()) / self.scale
        if plan:
            rows, delay = plan["prev_chunk_left_over"], plan["inference_delay"]
            if len(rows) != 32 - EXECUTED or (rows[:delay] - said[:delay]).abs().max() > 1e-5:
                self.fooled += 1
                return torch.zeros_like(said)
        return said

    def in_robot_units(self, chunk: Tensor) -> Tensor:
        return chunk * self.scale

    def scaled(self, actions: Tensor) -> Tensor:
        return actions


@pytest.mark.parametrize("delay", range(1, 13))
def test_on_the_mock_robot_too(delay: int) -> None:
    pilot: Any = Sweep()
    done = drive(pilot, "prefix", delay, seed=7, fps=15, ticks=75)
    assert pilot.fooled == 0 and done.gaps == 0 and len(done.borders) >= 3
    wanted = pilot.at(torch.arange(1, len(done.actions) + 1).float())
    np.testing.assert_allclose(done.actions, wanted.numpy(), atol=1e-4)


# --- what a prefix is made of ---


def test_deltas_mean_the_same_in_whatever_chunk_they_are() -> None:
    """An end-effector action is relative to the pose at its own step, not to the observation of its chunk,
    and its scaling does not depend on the state: what is left of a chunk needs no re-basing."""
    worlds = [random_world(get_task("lift"), np.random.default_rng(5)) for _ in range(2)]
    expert = Expert(worlds[0], np.random.default_rng(6))
    actions, states = [], []
    while not expert.done:
        actions.append(action_towards(worlds[0], expert.targets(worlds[0]), "ee"))
        worlds[0].step(targets_of(worlds[0], actions[-1], "ee"))
        states.append(measure(worlds[0], "ee"))
    for first in range(0, len(actions), 8):  # as chunks that are asked for on the way
        for row, action in enumerate(actions[first : first + 8], start=first):
            worlds[1].step(targets_of(worlds[1], action, "ee"))
            np.testing.assert_allclose(measure(worlds[1], "ee"), states[row], atol=1e-5)


def test_a_prefix_looks_alike_in_training_and_in_acting() -> None:
    """Clean tokens at time 0 in front, everything else at the chunk's own time; the same picture, too."""
    oracle = Oracle()
    config = oracle.policy.config
    clip = torch.full((4, config.num_frames, 3, 16, 16), 0.5)
    states = torch.randn(4, config.num_frames, 6)
    actions = torch.randn(4, config.chunk_size, 5)
    policy = XWAMPolicy(config)
    fixed(policy, oracle.before, states[:1], actions[:1])
    shown: list[tuple[Latents, Times]] = []
    policy.net.register_forward_pre_hook(lambda _, args: shown.append(args[:2]))
    lesson = {"observation.images.front": clip, "observation.state": states, "action": actions}
    np.random.seed(1)
    policy.train()(oracle.before({**lesson, "task": [TASK] * 4}))
    (taught, taught_times), policy = shown.pop(), policy.eval()
    del policy._encode_clip, policy._encode_text
    lengths = (taught_times.actions == 0).sum(dim=1)
    assert lengths.max() > 0
    sample = int(lengths.argmax())
    length = int(lengths[sample])
    now = {"observation.images.front": clip[:1, 0], "observation.state": states[sample : sample + 1, 0]}
    left_over = oracle.before({**lesson, "task": [TASK] * 4})["action"][sample]
    policy.predict_action_chunk(
        oracle.before({**now, "task": [TASK]}),
        inference_delay=length,
        prev_chunk_left_over=left_over[:length],
    )
    acted, acted_times = shown[0]
    for name in ("video", "actions", "states"):
        of_lesson, of_acting = (getattr(times, name) for times in (taught_times, acted_times))
        of_lesson, of_acting = (each[min(sample, len(each) - 1)] for each in (of_lesson, of_acting))
        assert torch.equal(of_lesson, of_acting), name
    assert torch.equal(taught.actions[sample, :length], acted.actions[0, :length])
    assert torch.equal(taught.states[sample, 0], acted.states[0, 0])
    torch.testing.assert_close(taught.video[sample, :, 0], acted.video[0, :, 0])


def test_the_posts_demand_a_side() -> None:
    """Half-way from one side to the other is a crash: the task is one in which plans must be kept."""
    path = demonstration(SEED).targets.copy()
    past = int(np.argmax(path[:, 0] < 1.08))
    path[past:, 1] = 2 * REACH - path[past:, 1]
    scene = Scene.drawn(SEED)
    for target in path[1:]:
        scene.step(target)
    assert scene.crashed
