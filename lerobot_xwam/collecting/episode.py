"""One episode, the expert's or of play: observations and actions of every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.collecting.disturbance import Disturbance
from lerobot_xwam.collecting.settings import Settings
from lerobot_xwam.envs.robosuite.env import RobosuiteEnv
from lerobot_xwam.envs.robosuite.experts import make_expert
from lerobot_xwam.envs.robosuite.experts.hand import OPEN
from lerobot_xwam.envs.robosuite.experts.play import LEAD, WORDINGS, Play

HELD = 3  # steps at the end that must show success


@dataclass(frozen=True)
class Episode:
    """Arrays over the steps of an episode, by the dataset's feature names; and its instruction."""

    task: str
    seed: int
    instruction: str
    disturbed: bool
    arrays: dict[str, NDArray[Any]]  # T ...

    def __len__(self) -> int:
        return len(self.arrays["action"])


def make_env(settings: Settings, task: str) -> RobosuiteEnv:
    """The environment of one of the tasks."""
    depth = settings.depth or settings.camera_matrices
    return RobosuiteEnv(task, settings.cameras, settings.size, settings.interface, settings.arms, depth)


def attempt(
    env: RobosuiteEnv, settings: Settings, seed: int, at_each_step: Callable[[], None] = lambda: None
) -> Episode | None:
    """An episode, None if the expert failed; the same seed gives the same."""
    observation, _ = env.reset(seed=seed)
    # Streams of their own: with and without noise the expert makes the same choices.
    streams = np.random.SeedSequence([seed, settings.tasks.index(env.task)]).spawn(2)
    rngs = (np.random.default_rng(streams[0]), np.random.default_rng(streams[1]))
    stage = Stage(env, settings, observation, at_each_step)
    return _play(stage, *rngs, seed) if settings.plays else _demonstrate(stage, *rngs, seed)


class Stage:
    """The environment while an episode happens in it; keeps what is recorded."""

    def __init__(
        self,
        env: RobosuiteEnv,
        settings: Settings,
        observation: dict[str, Any],
        at_each_step: Callable[[], None],
    ) -> None:
        self.env = env
        self.settings = settings
        self._observation = observation
        self._at_each_step = at_each_step
        self._steps: list[dict[str, NDArray[Any]]] = []

    def do(self, command: NDArray[np.float64]) -> bool:
        """One control step; whether it has succeeded then."""
        self._observation, _, _, _, info = self.env.step(self._action(command))
        self._at_each_step()
        return bool(info["is_success"])

    def record(self, command: NDArray[np.float64]) -> None:
        """What is seen now, and this as what is done about it."""
        self._steps.append(_frame(self._observation, self._action(command), self.settings))

    def episode(self, seed: int, instruction: str, disturbed: bool) -> Episode:
        """All that was recorded."""
        arrays = {key: np.stack([step[key] for step in self._steps]) for key in self._steps[0]}
        return Episode(self.env.task, seed, instruction, disturbed, arrays)

    def _action(self, command: NDArray[np.float64]) -> NDArray[np.float32]:
        return self.env.action_from_raw(_as_raw(command))


def _demonstrate(
    stage: Stage, expert_rng: np.random.Generator, noise_rng: np.random.Generator, seed: int
) -> Episode | None:
    """The expert's, who is disturbed now and then."""
    env = stage.env
    disturbance = Disturbance(noise_rng, stage.settings.noise, len(env.simulation.robots))
    for command in disturbance.start():
        stage.do(command)
    expert = make_expert(env.task, env.simulation, expert_rng)
    held = 0
    while not expert.done:
        clean = expert.action()
        executed = disturbance.executed(clean, expert.steady)
        stage.record(clean)
        held = held + 1 if stage.do(executed) else 0
    if expert.gave_up or held < HELD:
        return None
    return stage.episode(seed, env.task_description, disturbance.disturbed)


def _play(stage: Stage, expert_rng: np.random.Generator, play_rng: np.random.Generator, seed: int) -> Episode:
    """Hands that wander, from somewhere on the expert's way."""
    env = stage.env
    expert = make_expert(env.task, env.simulation, expert_rng)
    middles = [hand.position for hand in expert.hands]
    last = np.tile([0.0] * 6 + [OPEN], len(expert.hands))
    for _ in range(int(play_rng.integers(LEAD))):
        if expert.done:
            break
        last = expert.action()
        stage.do(last)
    play = Play(expert.hands, middles, last, play_rng)
    while not play.done:
        command = play.action()
        stage.record(command)
        stage.do(command)
    return stage.episode(seed, str(play_rng.choice(WORDINGS)), disturbed=False)


def _as_raw(command: NDArray[np.float64]) -> NDArray[np.float64]:
    """The experts close with +1 as robosuite does, raw actions open with +1."""
    raw = command.copy()
    raw[6::7] *= -1.0
    return raw


def _frame(
    observation: dict[str, Any], action: NDArray[np.float32], settings: Settings
) -> dict[str, NDArray[Any]]:
    frame: dict[str, NDArray[Any]] = {"observation.state": observation["agent_pos"], "action": action}
    for name in settings.cameras:
        frame[f"observation.images.{name}"] = observation["pixels"][name]
        if settings.depth:
            frame[f"observation.images.{name}_depth"] = observation[f"depth_{name}"]  # float metres
        if settings.camera_matrices:
            for matrix in ("intrinsics", "extrinsics"):
                frame[f"observation.camera.{name}.{matrix}"] = observation[f"cam_{name}_{matrix}"]
    return frame
