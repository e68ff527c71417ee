"""Arms that wander: straight motions in random directions, turns, rests, fingers that open and close.

An expert shows one sensible action in every situation, so a world model can guess what happens without
looking at the actions. Play shows what follows from any action.
"""

from __future__ import annotations

import numpy as np

from lerobot_xwam.envs.tabletop.expert import waypoint_joints
from lerobot_xwam.envs.tabletop.world import CUBE_SIZE, World
from lerobot_xwam.space.rotations import Array

STEPS = 64  # of an episode: two chunks
STRETCH = (6, 33)  # steps of one motion; from, to (exclusive)
SPEED = (0.002, 0.012)  # metres a step
TURN = 0.02  # radians a step, standard deviation
RESTS, SWITCHES = 0.1, 0.25  # how often a motion is a rest, moves the fingers
LOW = np.array([0.22, -0.22, CUBE_SIZE / 2])  # metres from the column's foot: the room of a hand
HIGH = np.array([0.58, 0.22, 0.30])


class Player:
    """Joint targets that lead nowhere in particular. Puts the arms somewhere to begin with."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self._rng = rng
        self._at = [np.array([*self._somewhere(arm.base), 0.0, 1.0]) for arm in world.arms]
        for arm, at in zip(world.arms, self._at, strict=True):
            arm.joints = waypoint_joints(arm, at)
        self._motions: list[Array] = [np.zeros(5) for _ in world.arms]
        self._left = [0 for _ in world.arms]
        self._step = 0

    @property
    def done(self) -> bool:
        """Whether the episode is long enough."""
        return self._step >= STEPS

    def targets(self, world: World) -> list[Array]:
        """Joint targets of every arm for the next control step."""
        self._step += 1
        return [waypoint_joints(arm, self._next(index, arm.base)) for index, arm in enumerate(world.arms)]

    def _somewhere(self, base: Array) -> Array:
        """In the room, in the world.  # 3"""
        return self._rng.uniform(LOW, HIGH) + np.array([*base, 0.0])

    def _next(self, index: int, base: Array) -> Array:
        """The next waypoint of an arm.  # 5"""
        if self._left[index] == 0:
            self._left[index] = int(self._rng.integers(*STRETCH))
            self._motions[index] = self._motion(self._at[index][4])
        self._left[index] -= 1
        at, motion = self._at[index], self._motions[index]
        off = at[:3] + motion[:3] - np.array([*base, 0.0])
        leaving = ((off < LOW) & (motion[:3] < 0)) | ((off > HIGH) & (motion[:3] > 0))
        motion[:3] = np.where(leaving, -motion[:3], motion[:3])
        self._at[index] = at + motion
        self._at[index][4] = np.clip(self._at[index][4], 0.0, 1.0)
        return self._at[index]

    def _motion(self, gripper: float) -> Array:
        """What is added to a waypoint in every step of a stretch.  # 5"""
        direction = self._rng.normal(size=3)
        speed = self._rng.uniform(*SPEED) * (self._rng.random() > RESTS)
        turn = self._rng.normal() * TURN * (speed > 0)
        fingers = (0.2 if gripper < 0.5 else -0.2) * (self._rng.random() < SWITCHES)
        return np.array([*(direction / np.linalg.norm(direction) * speed), turn, fingers])
