"""The two phases of every pick from above: reach a point in one smooth path, and close."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lerobot_xwam.envs.robosuite.experts.hand import CLOSE, OPEN, Aim, Array, Hand, pointing_down
from lerobot_xwam.envs.robosuite.experts.machine import Closing, Phase, funnel

NEAR = 0.012  # the fingers begin to close this far above the grasp: they need longer than the rest of the way
TURN_WIDTH = 0.06  # metres of the funnel per radian that the hand is still turned wrong


def reach_and_close(
    hand: Hand, grasp: Callable[[], tuple[Array, float]], hover: float, speed: float
) -> list[Phase]:
    """`grasp` tells the point between the finger tips and the yaw of their opening axis."""

    def aims(gripper: float) -> list[Aim]:
        return [reaching(hand, *grasp(), hover, speed, gripper)]

    return [
        Phase("reach", lambda: aims(OPEN), lambda: reached(hand, grasp()[0])),
        Phase("close", lambda: aims(CLOSE), Closing(hand), least=3, most=20, steady=True),
    ]


def reaching(hand: Hand, point: Array, yaw: float, hover: float, speed: float, gripper: float) -> Aim:
    """The aim of a hand on its way down to a grasp."""
    rotation = pointing_down(yaw)
    present = hand.rotation[:, 0]
    turn = abs(float(np.arctan2(present[1], present[0]) - yaw))
    away = float(np.linalg.norm(point[:2] - hand.position[:2])) + TURN_WIDTH * turn
    height = funnel(away, 0.012, hover)
    return Aim(point + np.array([0.0, 0.0, height]), rotation, gripper, speed)


def reached(hand: Hand, point: Array) -> bool:
    """Whether the fingers are around the point."""
    away = hand.position - point
    return abs(away[2]) < NEAR and float(np.linalg.norm(away[:2])) < 0.008
