"""Scripted experts that solve robosuite's tasks, to make demonstrations from."""

from __future__ import annotations

from typing import Any

import numpy as np

from lerobot_xwam.envs.robosuite.experts.can import PickPlaceCanExpert
from lerobot_xwam.envs.robosuite.experts.cubes import LiftExpert, StackExpert
from lerobot_xwam.envs.robosuite.experts.door import DoorExpert
from lerobot_xwam.envs.robosuite.experts.machine import Expert
from lerobot_xwam.envs.robosuite.experts.pot import TwoArmLiftExpert

EXPERTS: dict[str, type[Expert]] = {
    "lift": LiftExpert,
    "stack": StackExpert,
    "pick_place_can": PickPlaceCanExpert,
    "door": DoorExpert,
    "two_arm_lift": TwoArmLiftExpert,
}


def make_expert(task: str, env: Any, rng: np.random.Generator) -> Expert:
    """The expert of a task on a robosuite env that has just been reset."""
    if task not in EXPERTS:
        raise ValueError(f"task {task!r}: there are experts for {', '.join(EXPERTS)}")
    return EXPERTS[task](env, rng)
