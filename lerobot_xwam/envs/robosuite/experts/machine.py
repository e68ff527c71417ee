"""The experts' phase machine: aims that follow what the simulator shows, one phase after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lerobot_xwam.envs.robosuite.experts.hand import Aim, Array, Hand


@dataclass(frozen=True)
class Phase:
    """`aims` is asked at every step, so a disturbed hand finds back; `over` ends the phase."""

    name: str
    aims: Callable[[], Sequence[Aim]]
    over: Callable[[], bool]
    least: int = 0  # steps
    most: int = 90  # steps, then the expert gives up
    steady: bool = False  # fingers at work: a push would spoil it


class Expert(ABC):
    """Plays its phases. `rng` draws what differs between episodes: speed, heights, where it grasps."""

    def __init__(self, env: Any, rng: np.random.Generator) -> None:
        self.env = env
        self.rng = rng
        self.hands = [Hand(env, robot) for robot in range(len(env.robots))]
        self.speed = float(rng.uniform(0.85, 1.0))
        self.gave_up = False
        self._phases = self.phases()
        self._current = 0
        self._steps = 0
        self._looked = False  # `over` is asked once per step, however often `done` is

    @abstractmethod
    def phases(self) -> list[Phase]:
        """The script."""

    @property
    def phase(self) -> str:
        """Name of the phase that the next action belongs to."""
        return "done" if self.done else self._phases[self._current].name

    @property
    def steady(self) -> bool:
        """Whether the hand had better not be pushed now."""
        return self.done or self._phases[self._current].steady

    @property
    def done(self) -> bool:
        """Whether the script is at its end, or was given up."""
        self._advance()
        return self.gave_up or self._current == len(self._phases)

    def action(self) -> Array:
        """The next action of all hands, in controller units.  # 7 per hand"""
        if self.done:
            raise ValueError("the expert is done: ask `done` before `action`")
        self._steps += 1
        self._looked = False
        aims = self._phases[self._current].aims()
        return np.concatenate([hand.command(aim) for hand, aim in zip(self.hands, aims, strict=True)])

    def body(self, name: str) -> tuple[Array, Array]:
        """Position and rotation of a body.  # 3, 3 3"""
        index = self.env.sim.model.body_name2id(name)
        data = self.env.sim.data
        return np.array(data.body_xpos[index]), np.array(data.body_xmat[index]).reshape(3, 3)

    def _advance(self) -> None:
        if self._looked:
            return
        self._looked = True
        while not self.gave_up and self._current < len(self._phases):
            phase = self._phases[self._current]
            if self._steps < phase.least:
                return
            if phase.over():
                self._current, self._steps = self._current + 1, 0
            elif self._steps >= phase.most:
                self.gave_up = True
            else:
                return


class Closing:
    """Tells when a closing gripper has come to rest on something."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._last = np.inf

    def __call__(self) -> bool:
        """Ask once per step."""
        now = self._hand.opening
        still = abs(self._last - now) < 5e-4
        self._last = now
        return still


def funnel(distance: float, width: float, height: float, slope: float = 2.5) -> float:
    """Height above the goal while `distance` away from it sideways: descends only where it is nearly above.

    One smooth path in place of "go above, stop, go down".
    """
    return float(np.clip(slope * (distance - width), 0.0, height))
