"""The paper's statistics of a dataset: 1 % and 99 % quantiles of everything that is scaled.

States by quantiles of positions and grippers; actions by the larger of both quantiles, on both sides, so that
0 stays "no movement". Both grippers share one scale. Moves of a gripper below GRIPPER_RESTS do not count:
it stands still most of the time, and the quantiles would be zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lerobot_xwam.space.poses import ACTION, GRIPPER, POSITION, STATE, arms
from lerobot_xwam.space.resampling import moves_towards, squeezes
from lerobot_xwam.space.rotations import Array

from .quantiles import BLOCK, QuantileSketch

LEVELS = {"q01": 0.01, "q99": 0.99}
GRIPPER_RESTS = 0.005

Vectors = dict[str, dict[str, list[float]]]  # "state" | "action" -> quantile -> numbers


class InterfaceStatistics:
    """Of one dataset in the universal interface. Add episodes, merge with another worker's, read."""

    def __init__(self, arm_count: int, block: int = BLOCK) -> None:
        self.arm_count = arm_count
        self._positions = QuantileSketch(3 * arm_count, block)
        self._grippers = QuantileSketch(1, block)
        self._moves = QuantileSketch(6 * arm_count, block)
        self._squeezes = QuantileSketch(1, block)

    def add_deltas(self, states: ArrayLike, targets: ArrayLike, skip: int = 1) -> None:
        """An episode of commanded poses.  # T 8|16, T 8|16"""
        self._add_states(states)
        self._add_moves(moves_towards(states, targets, skip))
        self._add_squeezes(squeezes(states, skip))

    def add_actions(
        self, states: ArrayLike, actions: ArrayLike, gripper: Literal["action", "measured"] = "action"
    ) -> None:
        """An episode whose actions are as they are. `gripper`: scale its actions by their own quantiles or,
        as the authors' script does, by those of the measured moves.  # T 8|16, K 7|14
        """
        self._add_states(states)
        self._add_moves(actions)
        measured = gripper == "measured"
        self._add_squeezes(squeezes(states) if measured else arms(actions, ACTION)[..., -1])

    def merge(self, other: InterfaceStatistics) -> None:
        if other.arm_count != self.arm_count:
            raise ValueError(f"statistics of {other.arm_count} arms and of {self.arm_count} do not mix")
        for name in ("_positions", "_grippers", "_moves", "_squeezes"):
            getattr(self, name).merge(getattr(other, name))

    @property
    def frames(self) -> int:
        return self._positions.count

    def vectors(self) -> Vectors:
        """Per number of state and action. Quaternions, which are not scaled, get -1 and 1."""
        result: Vectors = {"state": {}, "action": {}}
        levels = list(LEVELS.values())
        positions = self._positions.quantiles(levels).reshape(len(levels), -1, 3)
        grippers = self._grippers.quantiles(levels)[:, 0]
        reach = np.abs(self._moves.quantiles(levels)).max(axis=0).reshape(-1, 6)
        squeeze = np.abs(self._squeezes.quantiles(levels)).max() if self._squeezes.count else 0.0
        for i, (name, sign) in enumerate(zip(LEVELS, (-1.0, 1.0), strict=True)):
            state = np.full((self.arm_count, STATE), sign)
            state[:, POSITION], state[:, GRIPPER] = positions[i], grippers[i]
            action = sign * np.concatenate([reach, np.full((self.arm_count, 1), squeeze)], axis=1)
            result["state"][name], result["action"][name] = state.ravel().tolist(), action.ravel().tolist()
        return result

    def _add_states(self, states: ArrayLike) -> None:
        per_arm = arms(states, STATE)
        self._positions.add(per_arm[..., POSITION].reshape(len(per_arm), -1))
        self._grippers.add(per_arm[..., GRIPPER].reshape(-1, 1))

    def _add_moves(self, actions: ArrayLike) -> None:
        per_arm = arms(actions, ACTION)
        self._moves.add(per_arm[..., :6].reshape(len(per_arm), -1))

    def _add_squeezes(self, moved: Array) -> None:
        flat = moved.reshape(-1, 1)
        self._squeezes.add(flat[np.abs(flat[:, 0]) > GRIPPER_RESTS])
