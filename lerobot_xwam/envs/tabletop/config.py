"""LeRobot registration: `--env.type=xwam_tabletop`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_xwam.envs.depth_processor import RenameDepthStep, check_depth_unit
from lerobot_xwam.envs.tabletop.cameras import check_cameras
from lerobot_xwam.envs.tabletop.interfaces import action_names, check_interface, state_names
from lerobot_xwam.envs.tabletop.tasks import get_task


@EnvConfig.register_subclass("xwam_tabletop")
@dataclass
class TabletopEnvConfig(EnvConfig):
    """The tabletop world. `cameras` is a comma-separated list; empty takes the task's three."""

    task: str | None = "lift"  # or "lift_two_arms"
    fps: int = 15
    cameras: str = ""
    observation_height: int = 64
    observation_width: int = 80
    interface: str = "ee"  # or "native": joints
    depth: bool = False  # also emit depth and camera matrices
    depth_unit: str = "mm"  # of observation.images.<camera>_depth; LeRobot's datasets read back millimetres
    episode_length: int = 90
    visualization_height: int = 192
    visualization_width: int = 240

    def __post_init__(self) -> None:
        check_depth_unit(self.depth_unit)
        task = get_task(self.task or "")
        check_interface(self.interface)
        self._set_vector(ACTION, ACTION, FeatureType.ACTION, len(action_names(task, self.interface)))
        self._set_vector("agent_pos", OBS_STATE, FeatureType.STATE, len(state_names(task, self.interface)))
        for name in self.camera_names:
            # The policy's own key, not "pixels/<name>": LeRobot cannot record evaluations with "/" in keys.
            key = f"{OBS_IMAGES}.{name}"
            shape = (self.observation_height, self.observation_width, 3)
            self.features.setdefault(key, PolicyFeature(type=FeatureType.VISUAL, shape=shape))
            self.features_map.setdefault(key, key)

    def _set_vector(self, key: str, policy_key: str, kind: FeatureType, length: int) -> None:
        self.features.setdefault(key, PolicyFeature(type=kind, shape=(length,)))
        self.features_map.setdefault(key, policy_key)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras, checked."""
        task = get_task(self.task or "")
        named = [name.strip() for name in self.cameras.split(",") if name.strip()]
        return check_cameras(named or task.default_cameras, task)

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of `TabletopEnv`."""
        return {
            "task": self.task,
            "cameras": self.camera_names,
            "size": (self.observation_height, self.observation_width),
            "interface": self.interface,
            "depth": self.depth,
            "fps": self.fps,
            "max_episode_steps": self.episode_length,
            "visualization_size": (self.visualization_height, self.visualization_width),
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, Any]]:
        """{suite: {0: vector environment}}."""
        import gymnasium as gym

        from lerobot_xwam.envs.tabletop.env import TabletopEnv

        makers = [partial(TabletopEnv, **self.gym_kwargs)] * n_envs
        same_step = gym.vector.AutoresetMode.SAME_STEP
        if use_async_envs and n_envs > 1:
            # forkserver: workers do not inherit the parent's threads or accelerator
            env: Any = gym.vector.AsyncVectorEnv(makers, context="forkserver", autoreset_mode=same_step)
        else:
            env = gym.vector.SyncVectorEnv(makers, autoreset_mode=same_step)
        return {self.type: {0: env}}

    def get_env_processors(self) -> tuple[Any, Any]:
        """Names and units of depth and camera matrices as the datasets have them."""
        from lerobot.processor import PolicyProcessorPipeline

        steps = [RenameDepthStep(self.camera_names, self.depth_unit)] if self.depth else []
        return PolicyProcessorPipeline(steps=steps), PolicyProcessorPipeline(steps=[])
