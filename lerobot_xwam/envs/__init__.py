"""Simulators as adapters. Importing this package registers the environment types and nothing else."""

from lerobot_xwam.envs.tabletop.config import TabletopEnvConfig

__all__ = ["TabletopEnvConfig"]
