"""Simulators as adapters. Importing this package registers the environment types and imports no simulator."""

from lerobot_xwam.envs.robosuite.config import RobosuiteEnvConfig
from lerobot_xwam.envs.robotwin.config import RoboTwinEnvConfig
from lerobot_xwam.envs.tabletop.config import TabletopEnvConfig

__all__ = ["RoboTwinEnvConfig", "RobosuiteEnvConfig", "TabletopEnvConfig"]
