"""The gymnasium environment over the world: seeds, observations, success."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lerobot_xwam.envs.tabletop.cameras import camera, check_cameras
from lerobot_xwam.envs.tabletop.interfaces import (
    action_names,
    check_interface,
    measure,
    state_names,
    targets_of,
)
from lerobot_xwam.envs.tabletop.scene import Looks, build_scene, random_looks
from lerobot_xwam.envs.tabletop.shading import render
from lerobot_xwam.envs.tabletop.tasks import get_task
from lerobot_xwam.envs.tabletop.world import World, random_world

Observation = dict[str, Any]
SMALLEST_SIDE = 16


class TabletopEnv(gym.Env[Observation, NDArray[Any]]):
    """Lift coloured cubes. The episode ends on success; `info["is_success"]` says so."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(
        self,
        task: str = "lift",
        cameras: Sequence[str] | None = None,
        size: tuple[int, int] = (64, 80),
        interface: str = "ee",
        depth: bool = False,
        fps: int = 15,
        max_episode_steps: int = 90,
        visualization_size: tuple[int, int] = (192, 240),
        render_mode: str = "rgb_array",
    ) -> None:
        self._task = get_task(task)
        self.task = task
        self.cameras = check_cameras(cameras or self._task.default_cameras, self._task)
        for side in (*size, *visualization_size):
            if side < SMALLEST_SIDE:
                raise ValueError(
                    f"size: got {size} and {visualization_size}, wanted at least {SMALLEST_SIDE} pixels."
                )
        self.size = (int(size[0]), int(size[1]))
        self.visualization_size = visualization_size
        self.interface = check_interface(interface)
        self.depth = depth
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": fps}
        self._max_episode_steps = max_episode_steps
        self._steps = 0
        self._world: World | None = None
        self._looks: Looks | None = None
        self.action_space = _unbounded(len(action_names(self._task, interface)))
        self.observation_space = self._observation_space()

    @property
    def world(self) -> World:
        """The state behind the pictures; there is one after the first reset."""
        if self._world is None:
            raise ValueError("The tabletop environment has no world yet: call reset() first.")
        return self._world

    @property
    def task_description(self) -> str:
        """The instruction of this episode."""
        return self.world.instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new episode; `options={"target": "red"}` chooses the cube that the instruction names."""
        super().reset(seed=seed)
        self._world = random_world(self._task, self.np_random, (options or {}).get("target"))
        self._looks = random_looks(self.np_random)
        self._steps = 0
        return self.observe(), self._info()

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step."""
        self.world.step(targets_of(self.world, action, self.interface))
        self._steps += 1
        success = self.world.is_success()
        truncated = not success and self._steps >= self._max_episode_steps
        return self.observe(), float(success), success, truncated, self._info()

    def render(self) -> NDArray[np.uint8]:
        """The first camera at the size for videos.  # H W 3"""
        view = camera(self.cameras[0], self.world, self.visualization_size)
        return render(view, build_scene(self.world, self._known_looks()))[0]

    def observe(self) -> Observation:
        """What there is to see now."""
        scene = build_scene(self.world, self._known_looks())
        observation: Observation = {"pixels": {}, "agent_pos": measure(self.world, self.interface)}
        for name in self.cameras:
            view = camera(name, self.world, self.size)
            rgb, depth = render(view, scene)
            observation["pixels"][name] = rgb
            if self.depth:
                # On the top level: what LeRobot's evaluation passes on are arrays, not nested dictionaries.
                observation[f"depth_{name}"] = depth[..., None]
                observation[f"cam_{name}_intrinsics"] = view.intrinsics.astype(np.float32)
                observation[f"cam_{name}_extrinsics"] = view.extrinsics.astype(np.float32)
        return observation

    def _info(self) -> dict[str, Any]:
        return {"is_success": self.world.is_success(), "task": self.world.instruction}

    def _known_looks(self) -> Looks:
        assert self._looks is not None  # drawn together with the world
        return self._looks

    def _observation_space(self) -> spaces.Dict:
        height, width = self.size
        picture = spaces.Box(0, 255, (height, width, 3), np.uint8)
        entries: dict[str, spaces.Space[Any]] = {
            "pixels": spaces.Dict(dict.fromkeys(self.cameras, picture)),
            "agent_pos": _unbounded(len(state_names(self._task, self.interface))),
        }
        if self.depth:
            for name in self.cameras:
                entries[f"depth_{name}"] = spaces.Box(0.0, np.inf, (height, width, 1), np.float32)
                entries[f"cam_{name}_intrinsics"] = _unbounded(3, 3)
                entries[f"cam_{name}_extrinsics"] = _unbounded(4, 4)
        return spaces.Dict(entries)


def _unbounded(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)
