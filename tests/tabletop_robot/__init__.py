"""A robot without hardware: the tabletop world's arm, moved by joint targets, as LeRobot's Robot.

LeRobot finds it with `--robot.discover_packages_path=tabletop_robot --robot.type=tabletop_arm`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

from lerobot_xwam.envs.tabletop.env import TabletopEnv
from lerobot_xwam.envs.tabletop.interfaces import action_names, state_names
from lerobot_xwam.envs.tabletop.tasks import get_task


@RobotConfig.register_subclass("tabletop_arm")
@dataclass(kw_only=True)
class TabletopArmConfig(RobotConfig):
    camera: str = "front"
    height: int = 48
    width: int = 64
    journal: str = os.devnull  # every action that was sent, one JSON line each


class TabletopArm(Robot):
    config_class = TabletopArmConfig
    name = "tabletop_arm"

    def __init__(self, config: TabletopArmConfig) -> None:
        super().__init__(config)
        self.config = config
        self.env = TabletopEnv(
            cameras=[config.camera], size=(config.height, config.width), interface="native"
        )
        self._observation: dict[str, Any] | None = None

    @property
    def observation_features(self) -> dict[str, Any]:
        joints = dict.fromkeys(state_names(get_task("lift"), "native"), float)
        return {**joints, self.config.camera: (self.config.height, self.config.width, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(action_names(get_task("lift"), "native"), float)

    @property
    def is_connected(self) -> bool:
        return self._observation is not None

    def connect(self, calibrate: bool = True) -> None:
        self._observation, _ = self.env.reset(seed=0)

    @property
    def is_calibrated(self) -> bool:
        return True

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        assert self._observation is not None
        joints = zip(
            self.observation_features, self._observation["agent_pos"].tolist(), strict=False
        )  # the camera comes last
        return {**dict(joints), self.config.camera: self._observation["pixels"][self.config.camera]}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        with Path(self.config.journal).open("a") as journal:
            journal.write(json.dumps(action) + "\n")
        self._observation, *_ = self.env.step(np.array([action[name] for name in self.action_features]))
        return action

    def disconnect(self) -> None:
        self._observation = None
