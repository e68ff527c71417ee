"""Experts of the two-cube table: `lift` the red cube, `stack` it on the green one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lerobot_xwam.envs.robosuite.experts.grasping import reach_and_close
from lerobot_xwam.envs.robosuite.experts.hand import CLOSE, OPEN, Aim, Array, nearest_yaw, pointing_down
from lerobot_xwam.envs.robosuite.experts.machine import Expert, Phase, funnel

QUARTER = np.pi / 2
HELD = 4  # steps that success is held at the end
LIFTED = 0.04  # what the task asks for
RED, GREEN = "cubeA_main", "cubeB_main"
RED_HALF, GREEN_HALF = 0.02, 0.025
GREEN_REACH = 0.03  # from its centre, about: it is turned anyhow
FINGERS_SPAN, FINGER_HALF_WIDTH = 0.06, 0.012  # of the open gripper, from its middle


class CubeExpert(Expert):
    """What both tasks begin with: grasp the red cube by two of its faces."""

    def __init__(self, env: Any, rng: np.random.Generator) -> None:
        self.hover = float(rng.uniform(0.07, 0.11))
        self.grasp_offset = np.array([*rng.uniform(-0.003, 0.003, size=2), rng.uniform(-0.004, 0.002)])
        super().__init__(env, rng)
        self.rest = self.red[2]

    @property
    def red(self) -> Array:
        """Centre of the red cube.  # 3"""
        return self.body(RED)[0]

    def grasp(self) -> tuple[Array, float]:
        """Where to grasp, and the opening axis: the shortest turn to two faces that are free."""
        position, rotation = self.body(RED)
        yaw = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
        nearest = nearest_yaw(self.hands[0], yaw, QUARTER)
        if self._green_in_the_way(position, nearest):
            nearest = nearest_yaw(self.hands[0], nearest + QUARTER, np.pi)
        return position + self.grasp_offset, nearest

    def _green_in_the_way(self, red: Array, yaw: float) -> bool:
        """Whether a finger would come down on the green cube."""
        x, y = (self.body(GREEN)[0] - red)[:2]
        along = abs(x * np.cos(yaw) + y * np.sin(yaw))
        across = abs(y * np.cos(yaw) - x * np.sin(yaw))
        return bool(along < FINGERS_SPAN + GREEN_REACH and across < FINGER_HALF_WIDTH + GREEN_REACH)

    def pick(self) -> list[Phase]:
        """Reach and close."""
        return reach_and_close(self.hands[0], self.grasp, self.hover, self.speed)

    def upright(self, target: Array, gripper: float) -> list[Aim]:
        """Move there with the hand's present yaw."""
        x = self.hands[0].rotation[:, 0]
        return [Aim(target, pointing_down(float(np.arctan2(x[1], x[0]))), gripper, self.speed)]


class LiftExpert(CubeExpert):
    """Grasp the red cube and lift it straight up."""

    def phases(self) -> list[Phase]:
        height = float(self.rng.uniform(0.10, 0.13))

        def up() -> list[Aim]:
            red, hand = self.red, self.hands[0].position
            return self.upright(np.array([*hand[:2], hand[2] + self.rest + height - red[2]]), CLOSE)

        return [
            *self.pick(),
            Phase("raise", up, lambda: self.red[2] > self.rest + LIFTED + 0.005),
            Phase("hold", up, lambda: self.red[2] > self.rest + LIFTED, least=HELD, most=HELD, steady=True),
        ]


class StackExpert(CubeExpert):
    """Grasp the red cube, carry it over the green one, set it down and let go."""

    def phases(self) -> list[Phase]:
        clearance = float(self.rng.uniform(0.03, 0.05))  # between the cubes on the way
        retreat = float(self.rng.uniform(0.07, 0.09))

        def spot() -> Array:
            """Centre of the red cube when it stands on the green one."""
            return self.body(GREEN)[0] + np.array([0.0, 0.0, GREEN_HALF + RED_HALF])

        def move(target: Array) -> list[Aim]:
            """Move the hand so that the red cube comes to the target."""
            return self.upright(self.hands[0].position + target - self.red, CLOSE)

        def carry() -> list[Aim]:
            red, goal = self.red, spot()
            away = float(np.linalg.norm(goal[:2] - red[:2]))
            height = goal[2] + funnel(away, 0.006, clearance)
            # No sideways move that would push the green cube: first up, then over.
            allowed = max(0.01, away - 0.07) if red[2] < goal[2] else away
            target = red[:2] + (goal[:2] - red[:2]) * min(1.0, allowed / max(away, 1e-6))
            return move(np.array([*target, height]))

        def down() -> bool:
            away = self.red - spot()
            return bool(np.linalg.norm(away[:2]) < 0.008 and away[2] < 0.003)

        def let_go() -> list[Aim]:
            return self.upright(self.hands[0].position, OPEN)

        def leave() -> list[Aim]:
            above = spot() + np.array([0.0, 0.0, retreat])
            return self.upright(np.array([*self.hands[0].position[:2], above[2]]), OPEN)

        opened = self.hands[0]
        return [
            *self.pick(),
            Phase("carry", carry, down, most=90),
            Phase("let go", let_go, lambda: opened.opening > 2 * RED_HALF + 0.008, most=20, steady=True),
            Phase("leave", leave, lambda: opened.position[2] > spot()[2] + retreat - 0.03, most=20),
        ]
