"""Hands that wander: straight motions in random directions, turns, rests, fingers that open and close.

Demonstrations show one sensible action in every situation, so a world model can guess what happens without
looking at the actions. Play shows what follows from any action.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lerobot_xwam.envs.robosuite.experts.hand import CLOSE, OPEN, Array, Hand

WORDINGS = ("move about", "wander around", "move around freely", "just play")
STEPS = 64  # of an episode: four chunks of the small model
LEAD = 60  # steps of the expert's before play begins, at most: so it begins anywhere, also with full hands
STRETCH = (6, 25)  # steps of one motion; from, to (exclusive)
SPEED = (0.05, 0.8)  # of the controller's greatest step
TURN = 0.3  # standard deviation per axis, of the controller's greatest turn
RESTS, TURNS, SWITCHES = 0.1, 0.4, 0.25  # how often a motion is a rest, has a turn, moves the fingers
ROOM = np.array([0.20, 0.25, 0.20])  # metres around the middle that a hand keeps to


@dataclass
class Wanderer:
    """One hand's motion. `middle`: of the room that it keeps to."""

    hand: Hand
    rng: np.random.Generator
    gripper: float  # OPEN or CLOSE, as it was told last
    middle: Array
    _left: int = 0
    _motion: Array = field(default_factory=lambda: np.zeros(6))

    def command(self) -> Array:
        """Controller action: 3 steps, 3 turns, gripper; along the axes of the robot's base.  # 7"""
        if self._left == 0:
            self._draw()
        self._left -= 1
        return np.array([*self.hand.in_base(self._inside(self._motion[:3])), *self._motion[3:], self.gripper])

    def _draw(self) -> None:
        self._left = int(self.rng.integers(*STRETCH))
        direction = self.rng.normal(size=3)
        speed = self.rng.uniform(*SPEED) * (self.rng.random() > RESTS)
        turn = self.rng.normal(size=3) * TURN * (self.rng.random() < TURNS)
        self._motion = np.concatenate([direction / np.linalg.norm(direction) * speed, turn])
        if self.rng.random() < SWITCHES:
            self.gripper = OPEN if self.gripper == CLOSE else CLOSE

    def _inside(self, motion: Array) -> Array:
        """Turned back along each axis on which the room ends.  # 3 -> 3"""
        off = self.hand.position - self.middle
        leaving = (np.abs(off) > ROOM) & (off * motion > 0)
        self._motion[:3] = np.where(leaving, -motion, motion)
        return self._motion[:3]


class Play:
    """All hands of an episode. `middles`: where they were at its beginning; `last`: their command before."""

    def __init__(
        self, hands: list[Hand], middles: list[Array], last: Array, rng: np.random.Generator
    ) -> None:
        self._wanderers = [
            Wanderer(hand, rng, float(told), middle)
            for hand, middle, told in zip(hands, middles, last[6::7], strict=True)
        ]
        self._steps = 0

    @property
    def done(self) -> bool:
        return self._steps == STEPS

    def action(self) -> Array:
        """The next action of all hands, in controller units.  # 7 per hand"""
        self._steps += 1
        return np.concatenate([each.command() for each in self._wanderers])
