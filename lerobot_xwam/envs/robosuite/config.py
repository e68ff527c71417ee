"""LeRobot registration: `--env.type=xwam_robosuite`. The simulator is imported when environments are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_xwam.envs.depth_processor import RenameDepthStep, check_depth_unit
from lerobot_xwam.envs.robosuite.cameras import check_cameras, default_cameras
from lerobot_xwam.envs.robosuite.interfaces import action_names, check_interface, state_names
from lerobot_xwam.envs.robosuite.tasks import Task, split_tasks

RATE = 20
ONE_FOR_ALL = "--env.cameras=front,hand,second --env.arms=2 --env.interface=ee (or raw)"


@EnvConfig.register_subclass("xwam_robosuite")
@dataclass
class RobosuiteEnvConfig(EnvConfig):
    """Robot arms in robosuite. `task` and `cameras` are lists with commas; no cameras: all of the task's."""

    task: str | None = "lift"  # or several: each is evaluated and reported by itself
    fps: int = RATE
    cameras: str = ""
    observation_height: int = 96
    observation_width: int = 128
    interface: str = "ee"  # or "raw": controller actions, or "native": joints
    arms: int = 0  # 2: always the width of two arms
    depth: bool = False  # also emit depth and camera matrices
    depth_unit: str = "mm"  # of observation.images.<camera>_depth; LeRobot's datasets read back millimetres
    episode_length: int = 0  # 0: as long as the task may take
    visualization_height: int = 240
    visualization_width: int = 320

    def __post_init__(self) -> None:
        check_depth_unit(self.depth_unit)
        check_interface(self.interface, self.arms)
        if self.fps != RATE:
            raise ValueError(
                f"fps: got {self.fps}, but xwam_robosuite is controlled at {RATE} Hz; leave fps out."
            )
        if self.episode_length < 0:
            raise ValueError(
                f"episode_length: got {self.episode_length}, wanted steps, or 0 for the task's own."
            )
        state = self._agreed("state", lambda task: state_names(task, self.interface, self.arms))
        action = self._agreed("action", lambda task: action_names(task, self.interface, self.arms))
        self._set_vector(ACTION, ACTION, FeatureType.ACTION, len(action))
        self._set_vector("agent_pos", OBS_STATE, FeatureType.STATE, len(state))
        for name in self.camera_names:
            # The policy's own key, not "pixels/<name>": LeRobot cannot record evaluations with "/" in keys.
            key = f"{OBS_IMAGES}.{name}"
            shape = (self.observation_height, self.observation_width, 3)
            self.features.setdefault(key, PolicyFeature(type=FeatureType.VISUAL, shape=shape))
            self.features_map.setdefault(key, key)

    def _set_vector(self, key: str, policy_key: str, kind: FeatureType, length: int) -> None:
        self.features.setdefault(key, PolicyFeature(type=kind, shape=(length,)))
        self.features_map.setdefault(key, policy_key)

    def _agreed(self, what: str, names_of: Callable[[Task], Any]) -> list[str]:
        """What all tasks have in common, for one policy is to do them all."""
        tasks = split_tasks(self.task)
        found = {task.name: list(names_of(task)) for task in tasks}
        first = found[tasks[0].name]
        if any(names != first for names in found.values()):
            raise ValueError(
                f"task: {self.task!r} in one run, but the tasks differ in their {what}: {found}. "
                f"Make them alike with {ONE_FOR_ALL}, or evaluate them one by one."
            )
        return first

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras, checked; the same for all tasks."""
        named = [name.strip() for name in self.cameras.split(",") if name.strip()]
        return tuple(
            self._agreed("cameras", lambda task: check_cameras(named or default_cameras(task), task))
        )

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of `RobosuiteEnv`, but for the task."""
        return {
            "cameras": self.camera_names,
            "size": (self.observation_height, self.observation_width),
            "interface": self.interface,
            "arms": self.arms,
            "depth": self.depth,
            "max_episode_steps": self.episode_length or None,
            "visualization_size": (self.visualization_height, self.visualization_width),
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, Any]]:
        """{task: {0: vector environment}}, for LeRobot reports every group by its name."""
        from lerobot_xwam.envs.robosuite.graphics import check_graphics
        from lerobot_xwam.envs.robosuite.simulation import import_robosuite

        import_robosuite()  # this and the next say what to install before anything is built
        check_graphics()
        return {task.name: {0: self._vector(task, n_envs, use_async_envs)} for task in split_tasks(self.task)}

    def _vector(self, task: Task, n_envs: int, use_async_envs: bool) -> Any:
        import gymnasium as gym

        from lerobot_xwam.envs.robosuite.env import RobosuiteEnv

        makers = [partial(RobosuiteEnv, task=task.name, **self.gym_kwargs)] * n_envs
        same_step = gym.vector.AutoresetMode.SAME_STEP
        if use_async_envs and n_envs > 1:
            # forkserver: workers do not inherit the parent's threads, accelerator or OpenGL
            return gym.vector.AsyncVectorEnv(makers, context="forkserver", autoreset_mode=same_step)
        return gym.vector.SyncVectorEnv(makers, autoreset_mode=same_step)

    def get_env_processors(self) -> tuple[Any, Any]:
        """Names and units of depth and camera matrices as the datasets have them."""
        from lerobot.processor import PolicyProcessorPipeline

        steps = [RenameDepthStep(self.camera_names, self.depth_unit)] if self.depth else []
        return PolicyProcessorPipeline(steps=steps), PolicyProcessorPipeline(steps=[])
