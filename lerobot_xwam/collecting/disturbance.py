"""Pushes the hand now and then, so that demonstrations show how to recover.

The executed command gets an offset for a few steps; what is recorded is the expert's clean command for where
the hand has got to. Some episodes start from another pose besides.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PUSH_CHANCE = 0.06  # per step, of a push to begin
PUSH_STEPS = (3, 7)  # from, to (exclusive)
PUSH_MOVE = (0.4, 1.0)  # length of the offset, in controller units; 1 is the controller's greatest step
PUSH_TURN = 0.15
START_STEPS = (3, 11)
START_RAISE = 0.4  # starts are rather moved up than into the table


class Disturbance:
    """What happens to one episode. `noise`: the chance that it is disturbed at all."""

    def __init__(self, rng: np.random.Generator, noise: float, hands: int) -> None:
        self._rng = rng
        self._hands = hands
        self.disturbed = bool(rng.random() < noise)
        self._left = 0
        self._offset: Array = np.zeros(7 * hands)

    def start(self) -> Iterator[Array]:
        """Commands that move the hands elsewhere before the episode begins, in half of the disturbed ones."""
        if not self.disturbed or self._rng.random() < 0.5:
            return
        command = self._draw()
        command[2::7] = np.abs(command[2::7]) + START_RAISE
        for _ in range(int(self._rng.integers(*START_STEPS))):
            yield np.clip(command, -1.0, 1.0)

    def executed(self, clean: Array, steady: bool) -> Array:
        """The command that is executed in place of the expert's. `steady`: not now.  # 7 per hand"""
        if not self.disturbed or steady:
            self._left = 0
            return clean
        if self._left == 0 and self._rng.random() < PUSH_CHANCE:
            self._left = int(self._rng.integers(*PUSH_STEPS))
            self._offset = self._draw()
        if self._left == 0:
            return clean
        self._left -= 1
        return np.clip(clean + self._offset, -1.0, 1.0)

    def _draw(self) -> Array:
        """An offset; grippers are let alone."""
        offset = np.zeros((self._hands, 7))
        for hand in offset:
            direction = self._rng.normal(size=3)
            hand[:3] = direction / np.linalg.norm(direction) * self._rng.uniform(*PUSH_MOVE)
            hand[3:6] = self._rng.normal(size=3) * PUSH_TURN
        return offset.reshape(-1)
