"""One robot hand as the experts see it: where it is, and the command that moves it towards an aim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.envs.robosuite.simulation import MOVE_LIMIT, TURN_LIMIT

Array = NDArray[np.float64]

OPEN, CLOSE = -1.0, 1.0
GAIN = 1.6  # of the distance: 1 is slow to arrive, from 2 on the hand overshoots
TURN_CAP = 0.55  # of the greatest turn, so that wrists move no faster than they must


@dataclass(frozen=True)
class Aim:
    """Where a hand should be next, in the world's frame."""

    position: Array  # 3, metres
    rotation: Array  # 3 3
    gripper: float  # OPEN or CLOSE
    speed: float = 1.0  # cap, as a part of the controller's greatest step


class Hand:
    """A Panda hand that is moved in steps relative to its present pose."""

    def __init__(self, env: Any, robot: int) -> None:
        self._sim = env.sim
        machine = env.robots[robot]
        model = env.sim.model
        self._site = machine.eef_site_id["right"]
        self._base = model.site_name2id(f"{machine.robot_model.naming_prefix}right_center")
        self._fingers = [model.get_joint_qpos_addr(name) for name in machine.gripper["right"].joints]

    @property
    def position(self) -> Array:
        """Of the point between the finger tips.  # 3"""
        return np.array(self._sim.data.site_xpos[self._site])

    @property
    def rotation(self) -> Array:
        """Columns: x the fingers' opening axis, z the direction that the hand points in.  # 3 3"""
        return np.array(self._sim.data.site_xmat[self._site]).reshape(3, 3)

    @property
    def opening(self) -> float:
        """Distance of the fingers, metres."""
        left, right = (self._sim.data.qpos[index] for index in self._fingers)
        return float(abs(left - right))

    def command(self, aim: Aim) -> Array:
        """Controller action along the axes of the robot's base: 3 steps, 3 turns, gripper; -1 to 1.  # 7"""
        step = self.in_base(aim.position - self.position) / MOVE_LIMIT
        turn = self.in_base(rotation_vector(aim.rotation @ self.rotation.T)) / TURN_LIMIT
        return np.array([*_capped(GAIN * step, aim.speed), *_capped(GAIN * turn, TURN_CAP), aim.gripper])

    def in_base(self, vector: Array) -> Array:
        """The same direction along the axes of the robot's base, which the controller follows.  # 3 -> 3"""
        return np.array(self._sim.data.site_xmat[self._base]).reshape(3, 3).T @ vector


def rotation_vector(rotation: Array) -> Array:
    """Axis times angle, angle in [0, pi].  # 3 3 -> 3"""
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine = np.linalg.norm(axis) / 2
    angle = np.arctan2(sine, (np.trace(rotation) - 1) / 2)
    # At half a turn the axis is undefined here; no aim is that far from its hand.
    return axis / 2 if sine < 1e-9 else axis / (2 * sine) * angle


def about_z(angle: float) -> Array:
    """Rotation about the vertical.  # 3 3"""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def pointing_down(opening_yaw: float) -> Array:
    """A hand that points straight down, its fingers opening along this direction.  # 3 3"""
    x = np.array([np.cos(opening_yaw), np.sin(opening_yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([x, np.cross(down, x), down], axis=1)


def nearest_yaw(hand: Hand, yaw: float, period: float) -> float:
    """Of yaw + k * period, the one that the hand reaches with the shortest turn."""
    x = hand.rotation[:, 0]
    present = float(np.arctan2(x[1], x[0]))
    return present + (yaw - present + period / 2) % period - period / 2


def _capped(vector: Array, greatest: float) -> Array:
    """The same direction, no longer than `greatest`."""
    length = float(np.linalg.norm(vector))
    return vector if length <= greatest else vector * (greatest / length)
