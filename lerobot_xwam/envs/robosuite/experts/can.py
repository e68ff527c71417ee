"""Expert of `pick_place_can`: take the can out of its bin, over the wall, and drop it in its place."""

from __future__ import annotations

import numpy as np

from lerobot_xwam.envs.robosuite.experts.grasping import reach_and_close
from lerobot_xwam.envs.robosuite.experts.hand import CLOSE, OPEN, Aim, Array, pointing_down
from lerobot_xwam.envs.robosuite.experts.machine import Expert, Phase, funnel

CAN = "Can_main"
WALLS = 0.14  # the can's centre crosses the bins' walls this far above their floor
DROP = 0.10  # the can's centre above the floor when it is let go; standing it is at 0.06
MARGIN = 0.055  # from the compartment's borders; its far corner is out of the arm's reach
HELD = 4  # steps that success is held at the end


class PickPlaceCanExpert(Expert):
    """Grasp from above, up, over, down, let go, leave."""

    def phases(self) -> list[Phase]:
        hand = self.hands[0]
        hover = float(self.rng.uniform(0.09, 0.12))
        offset = np.array([*self.rng.uniform(-0.004, 0.004, size=2), self.rng.uniform(0.0, 0.015)])
        height = WALLS + float(self.rng.uniform(0.0, 0.02))
        spot = self._spot()
        # A can may be held by any of its sides: the wrist stays as it is.
        x = hand.rotation[:, 0]
        yaw = float(np.arctan2(x[1], x[0]))
        rotation = pointing_down(yaw)

        def can() -> Array:
            return self.body(CAN)[0]

        def move(target: Array, gripper: float) -> list[Aim]:
            return [Aim(target, rotation, gripper, self.speed)]

        def carry() -> list[Aim]:
            here = can()
            away = float(np.linalg.norm(spot[:2] - here[:2]))
            low = here[2] < spot[2] - DROP + height - 0.02 and away > 0.15
            goal = np.array([*(here if low else spot)[:2], spot[2] + funnel(away, 0.02, height - DROP, 1.5)])
            return move(hand.position + goal - here, CLOSE)

        def there() -> bool:
            away = can() - spot
            return bool(np.linalg.norm(away[:2]) < 0.025 and away[2] < 0.015)

        def leave() -> list[Aim]:
            return move(np.array([*hand.position[:2], spot[2] + 0.15]), OPEN)

        return [
            *reach_and_close(hand, lambda: (can() + offset, yaw), hover, self.speed),
            Phase("carry", carry, there, most=140),
            Phase(
                "let go",
                lambda: move(hand.position, OPEN),
                lambda: hand.opening > 0.065,
                most=20,
                steady=True,
            ),
            Phase("leave", leave, lambda: bool(hand.position[2] > can()[2] + 0.06), most=30),
            Phase("hold", leave, lambda: True, least=HELD, steady=True),
        ]

    def _spot(self) -> Array:
        """Where the can is let go: in its compartment, as near to the robot as the margin allows."""
        low = np.asarray(self.env.target_bin_placements[self.env.object_id], dtype=np.float64)
        half = np.asarray(self.env.bin_size[:2]) / 4.0
        base = np.asarray(self.env.robots[0].base_pos)
        inner = half - MARGIN
        xy = low[:2] + np.clip(base[:2] - low[:2], -inner, inner)
        return np.array([*(xy + self.rng.uniform(-0.01, 0.01, size=2)), self.env.bin2_pos[2] + DROP])
