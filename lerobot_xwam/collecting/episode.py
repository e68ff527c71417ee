"""One attempt of the expert: observations and clean actions of every step."""

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
    """An episode of the expert, None if it failed; the same seed gives the same."""
    observation, _ = env.reset(seed=seed)
    # Streams of their own: with and without noise the expert makes the same choices.
    expert_seed, noise_seed = np.random.SeedSequence([seed, settings.tasks.index(env.task)]).spawn(2)
    hands = len(env.simulation.robots)
    disturbance = Disturbance(np.random.default_rng(noise_seed), settings.noise, hands)
    for command in disturbance.start():
        observation, *_ = env.step(env.action_from_raw(_as_raw(command)))
        at_each_step()

    expert = make_expert(env.task, env.simulation, np.random.default_rng(expert_seed))
    steps: list[dict[str, NDArray[Any]]] = []
    held = 0
    while not expert.done:
        clean = expert.action()
        executed = disturbance.executed(clean, expert.steady)
        recorded = env.action_from_raw(_as_raw(clean))
        steps.append(_frame(observation, recorded, settings))
        observation, _, _, _, info = env.step(env.action_from_raw(_as_raw(executed)))
        held = held + 1 if info["is_success"] else 0
        at_each_step()
    if expert.gave_up or held < HELD:
        return None
    arrays = {key: np.stack([step[key] for step in steps]) for key in steps[0]}
    return Episode(env.task, seed, env.task_description, disturbance.disturbed, arrays)


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
