"""Expert of `door`: take the lever aslant from above, press it down, pull the door open."""

from __future__ import annotations

import numpy as np

from lerobot_xwam.envs.robosuite.experts.hand import CLOSE, OPEN, Aim, Array, rotation_vector
from lerobot_xwam.envs.robosuite.experts.machine import Closing, Expert, Phase, funnel

LATCH, HINGE_JOINT, LATCH_JOINT = "Door_latch", "Door_hinge", "Door_latch_joint"
LEVER = np.array([0.12, -0.10, 0.0])  # where it is held, in the latch's frame; the latch turns about its y
SLANT = (
    0.9  # radians that the hand leans from pointing down towards pointing at the door: its palm would hit it
)
# Hand in the latch's frame: it points down and at the door (-z, +y), the fingers open across the lever.
GRIP = np.array(
    [
        [0.0, 1.0, 0.0],
        [np.cos(SLANT), 0.0, np.sin(SLANT)],
        [np.sin(SLANT), 0.0, -np.cos(SLANT)],
    ]
)
SWAP = np.diag([-1.0, -1.0, 1.0])
NEAR = 0.015
TURN_WIDTH = 0.06  # metres of the funnel per radian that the hand is still turned wrong
FREE = 1.15  # radians of the latch from which on the door moves
OPENED = 0.3  # radians of the hinge that the task asks for
TURN_AHEAD, PULL_AHEAD = 0.45, 0.12  # radians that the aim is ahead of latch and door
HELD = 4  # steps that success is held at the end


class DoorExpert(Expert):
    """Reach, close, press, pull."""

    def phases(self) -> list[Phase]:
        hand = self.hands[0]
        back = float(self.rng.uniform(0.07, 0.10))
        along = float(self.rng.uniform(-0.01, 0.01))
        # Fingers may swap: take what is the shorter turn from the start.
        turns = [self.body(LATCH)[1] @ grip @ hand.rotation.T for grip in (GRIP, GRIP @ SWAP)]
        swapped = np.argmin([np.linalg.norm(rotation_vector(turn)) for turn in turns])
        grip = GRIP @ SWAP if swapped else GRIP

        def grasp() -> tuple[Array, Array]:
            """Point between the fingers, and the hand's rotation: it turns with the lever."""
            position, rotation = self.body(LATCH)
            return position + rotation @ (LEVER + np.array([along, 0.0, 0.0])), rotation @ grip

        def reach(gripper: float) -> list[Aim]:
            point, rotation = grasp()
            approach = rotation[:, 2]
            offset = point - hand.position
            beside = float(np.linalg.norm(offset - approach * (approach @ offset)))
            turned = float(np.linalg.norm(rotation_vector(rotation @ hand.rotation.T)))
            away = funnel(beside + TURN_WIDTH * turned, 0.012, back)
            return [Aim(point - approach * away, rotation, gripper, self.speed)]

        def reached() -> bool:
            return bool(np.linalg.norm(grasp()[0] - hand.position) < NEAR)

        def lead(joint: str, angle: float) -> list[Aim]:
            """Ahead of the held point, along the joint's circle."""
            held, rotation = grasp()
            return [Aim(self._turned(joint, held, angle), rotation, CLOSE, self.speed)]

        def press() -> list[Aim]:
            return lead(LATCH_JOINT, self._down() * TURN_AHEAD)

        def pull() -> list[Aim]:
            return lead(HINGE_JOINT, PULL_AHEAD)

        def opened() -> bool:
            return self._angle(HINGE_JOINT) > OPENED

        return [
            Phase("reach", lambda: reach(OPEN), reached),
            Phase("close", lambda: reach(CLOSE), Closing(hand), least=3, most=20, steady=True),
            Phase("press", press, lambda: abs(self._angle(LATCH_JOINT)) > FREE, most=60),
            Phase("pull", pull, opened, most=60),
            Phase("hold", pull, opened, least=HELD, most=HELD, steady=True),
        ]

    def _angle(self, joint: str) -> float:
        return float(self.env.sim.data.qpos[self.env.sim.model.get_joint_qpos_addr(joint)])

    def _turned(self, joint: str, point: Array, angle: float) -> Array:
        """The point, turned about the joint's axis.  # 3 -> 3"""
        index = self.env.sim.model.joint_name2id(joint)
        anchor = np.array(self.env.sim.data.xanchor[index])
        axis = np.array(self.env.sim.data.xaxis[index])
        arm = point - anchor
        along = axis * (axis @ arm)
        return anchor + along + (arm - along) * np.cos(angle) + np.cross(axis, arm) * np.sin(angle)

    def _down(self) -> float:
        """Sign of the latch's turn that lowers the lever."""
        position, rotation = self.body(LATCH)
        held = position + rotation @ LEVER
        # Past the lowest point it would rise again: the sign of the beginning counts.
        if abs(self._angle(LATCH_JOINT)) > 0.2:
            return float(np.sign(self._angle(LATCH_JOINT)))
        return 1.0 if self._turned(LATCH_JOINT, held, 0.1)[2] < held[2] else -1.0
