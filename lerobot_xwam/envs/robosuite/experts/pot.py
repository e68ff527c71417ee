"""Expert of `two_arm_lift`: each arm takes the handle on its side, then both raise the pot level."""

from __future__ import annotations

import numpy as np

from lerobot_xwam.envs.robosuite.experts.grasping import reached, reaching
from lerobot_xwam.envs.robosuite.experts.hand import CLOSE, OPEN, Aim, Array, nearest_yaw, pointing_down
from lerobot_xwam.envs.robosuite.experts.machine import Closing, Expert, Phase

HANDLES = ("pot_handle0", "pot_handle1")  # sites; the first arm's handle is the first
HELD = 4  # steps that success is held at the end
RAISE_SPEED = 0.75
LEVEL = 1.5  # how much the higher hand waits for the lower one


class TwoArmLiftExpert(Expert):
    """Reach both handles, close together, raise together."""

    def phases(self) -> list[Phase]:
        hover = float(self.rng.uniform(0.06, 0.10))
        offsets = self.rng.uniform([-0.01, -0.003, -0.004], [0.01, 0.003, 0.004], size=(2, 3))
        beyond = float(self.rng.uniform(0.03, 0.05))  # rises on after success
        closings = [Closing(hand) for hand in self.hands]

        def grasp(arm: int) -> tuple[Array, float]:
            bar, pot = self._handle(arm), self.body("pot_root")[1]
            across = float(np.arctan2(pot[1, 1], pot[0, 1]))  # the bars lie along the pot's x
            return bar + pot @ offsets[arm], nearest_yaw(self.hands[arm], across, np.pi)

        def reach(gripper: float) -> list[Aim]:
            return [
                reaching(hand, *grasp(arm), hover, self.speed, gripper) for arm, hand in enumerate(self.hands)
            ]

        def both_reached() -> bool:
            return all(reached(hand, grasp(arm)[0]) for arm, hand in enumerate(self.hands))

        def both_closed() -> bool:
            still = [closing() for closing in closings]  # each must be asked at every step
            return all(still)

        def up() -> list[Aim]:
            heights = [self._handle(arm)[2] for arm in range(2)]
            level = float(np.mean(heights))
            aims = []
            for arm, (hand, height) in enumerate(zip(self.hands, heights, strict=True)):
                rise = self._missing() + beyond - LEVEL * (height - level)
                target = hand.position + np.array([0.0, 0.0, rise])
                aims.append(Aim(target, pointing_down(grasp(arm)[1]), CLOSE, RAISE_SPEED * self.speed))
            return aims

        return [
            Phase("reach", lambda: reach(OPEN), both_reached, most=80),
            Phase("close", lambda: reach(CLOSE), both_closed, least=3, most=20, steady=True),
            Phase("raise", up, lambda: self._missing() < 0),
            Phase("hold", up, lambda: self._missing() < 0, least=HELD, most=HELD, steady=True),
        ]

    def _handle(self, arm: int) -> Array:
        data, model = self.env.sim.data, self.env.sim.model
        return np.array(data.site_xpos[model.site_name2id(HANDLES[arm])])

    def _missing(self) -> float:
        """Metres that the pot must still rise to be 10 cm above the table."""
        data, model = self.env.sim.data, self.env.sim.model
        table = data.site_xpos[model.site_name2id("table_top")][2]
        centre = data.site_xpos[model.site_name2id("pot_center")][2]
        return float(table + 0.10 + self.env.pot.top_offset[2] - centre)
