"""An operator who wipes the table: smooth sweeps, and no place of the hand tells which way it goes.

The base turns and the arm reaches out and back, each along a sine of its own speed, width and phase, drawn
anew for every episode. A policy that sees only where the arm is has to choose a direction and a speed, and
two chunks that do not know of each other choose differently. The motion itself hardly bends from step to
step, so what jumps is the switching.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lerobot_xwam.envs.tabletop.tasks import get_task
from lerobot_xwam.robots.names import action_keys

MIDDLE = np.array([0.0, 0.34])  # base angle (rad), reach (m)
WIDTH = np.array([[0.35, 0.07], [0.6, 0.11]])  # from, to
TURNING = (0.16, 0.26)  # rad of the sine per control step
HEIGHT, WRIST = (0.17, 0.23), (-0.2, 0.2)  # of an episode


class Wiper:
    """Joint targets, one per control step. In a pause the arm goes to where the next episode begins."""

    def __init__(self, episode: int, pause: int, seed: int = 0) -> None:
        self._episode, self._pause = episode, pause  # control steps
        self._keys = action_keys(get_task("lift"), "native")
        self._rng = np.random.default_rng(seed)
        self._step = 0
        self._draw()

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def get_action(self) -> dict[str, Any]:
        if self._step == self._episode:
            self._step = -self._pause
            self._draw()
        swept = MIDDLE + self._width * np.sin(self._phase + self._turning * max(self._step, 0))
        self._step += 1
        return dict(zip(self._keys, [*swept.tolist(), *self._still, 1.0], strict=True))

    def _draw(self) -> None:
        self._width = self._rng.uniform(*WIDTH)
        self._turning = self._rng.uniform(*TURNING, size=2) * self._rng.choice([-1, 1], size=2)
        self._phase = self._rng.uniform(0, 2 * np.pi, size=2)
        self._still = [self._rng.uniform(*HEIGHT), self._rng.uniform(*WRIST)]
