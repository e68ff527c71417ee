"""The gymnasium environment over robosuite: seeds, observations, success."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lerobot_xwam.envs.robosuite.arms import Arm
from lerobot_xwam.envs.robosuite.cameras import check_cameras, default_cameras, resolve
from lerobot_xwam.envs.robosuite.interfaces import (
    action_from_raw,
    action_names,
    check_interface,
    controls_of,
    measure,
    state_names,
)
from lerobot_xwam.envs.robosuite.simulation import CONTROL_RATE, import_robosuite
from lerobot_xwam.envs.robosuite.tasks import get_task

if TYPE_CHECKING:
    from lerobot_xwam.envs.robosuite.world import World

Observation = dict[str, Any]
SMALLEST_SIDE = 16


class RobosuiteEnv(gym.Env[Observation, NDArray[Any]]):
    """One of the tasks. The episode ends on success; `info["is_success"]` says so."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_RATE}

    def __init__(
        self,
        task: str = "lift",
        cameras: Sequence[str] | None = None,
        size: tuple[int, int] = (96, 128),
        interface: str = "ee",
        arms: int = 0,
        depth: bool = False,
        max_episode_steps: int | None = None,
        visualization_size: tuple[int, int] = (240, 320),
        render_mode: str = "rgb_array",
    ) -> None:
        self._task = get_task(task)
        self.task = task
        self.cameras = check_cameras(cameras or default_cameras(self._task), self._task)
        self.size, self.visualization_size = check_size(size), check_size(visualization_size)
        self.interface = check_interface(interface, arms)
        self.depth = depth
        self.render_mode = render_mode
        self.state_names = state_names(self._task, interface, arms)
        self.action_names = action_names(self._task, interface, arms)
        self.action_space = _unbounded(len(self.action_names))
        self.observation_space = self._observation_space()
        self._max_episode_steps = max_episode_steps or self._task.max_steps
        self._steps = 0
        self._instruction: str | None = None
        self._built: World | None = None

    @property
    def world(self) -> World:
        """Simulation, arms, cameras and renderer; built at the first use."""
        if self._built is None:
            import_robosuite()
            from lerobot_xwam.envs.robosuite.world import World

            height, width = np.maximum(self.size, self.visualization_size)
            self._built = World(self._task, self.interface == "native", int(height), int(width))
        return self._built

    @property
    def simulation(self) -> Any:
        """robosuite's own environment object. It stays the same until close()."""
        return self.world.simulation

    @property
    def arms(self) -> list[Arm]:
        """The arms that are there, left first."""
        return self.world.arms

    @property
    def task_description(self) -> str:
        """The instruction of this episode."""
        if self._instruction is None:
            raise ValueError("The robosuite environment has no episode yet: call reset() first.")
        return self._instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new episode; `options={"wording": 0}` chooses how the instruction is worded."""
        super().reset(seed=seed)
        drawn = int(
            self.np_random.integers(len(self._task.wordings))
        )  # also when not used: same seed, same rest
        self._instruction = self._task.wordings[self._wording((options or {}).get("wording"), drawn)]
        self.world.reset(int(self.np_random.integers(2**32)))
        self._steps = 0
        return self._observe(), self._info()

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step of 50 ms."""
        if self._instruction is None:
            raise ValueError("The robosuite environment has no episode yet: call reset() before step().")
        self.world.step(controls_of(self.arms, action, self.interface, self.action_names))
        self._steps += 1
        info = self._info()
        success = bool(info["is_success"])
        truncated = not success and self._steps >= self._max_episode_steps
        return self._observe(), float(success), success, truncated, info

    def action_from_raw(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Raw controller actions (7 per arm, +1 opens) -> this interface's action that does the same.

        `ee`: the relative pose that the controller is asked for. `native`: the joint target that leads there.
        """
        return action_from_raw(self.arms, raw, self.interface, len(self.action_names))

    def render(self) -> NDArray[np.uint8]:
        """The front camera at the size for videos.  # H W 3"""
        return self.world.picture("front", self.visualization_size, depth=False).rgb

    def close(self) -> None:
        """Free the simulation and its OpenGL objects; a later reset builds them anew."""
        built, self._built, self._instruction = self._built, None, None
        if built is not None:
            built.close()

    def _wording(self, chosen: Any, drawn: int) -> int:
        count = len(self._task.wordings)
        if chosen is None:
            return drawn
        if not isinstance(chosen, (int, np.integer)) or not 0 <= chosen < count:
            raise ValueError(f"options: wording {chosen!r}, but task {self.task!r} has 0 to {count - 1}.")
        return int(chosen)

    def _info(self) -> dict[str, Any]:
        return {"is_success": self.world.is_success(), "task": self.task_description}

    def _observe(self) -> Observation:
        state = measure(self.arms, self.interface, len(self.state_names))
        observation: Observation = {"pixels": {}, "agent_pos": state}
        for name in self.cameras:
            picture = self.world.picture(resolve(name, self._task), self.size, self.depth)
            observation["pixels"][name] = picture.rgb
            if picture.depth is not None:
                # On the top level: what LeRobot's evaluation passes on are arrays, not nested dictionaries.
                observation[f"depth_{name}"] = picture.depth[..., None]
                observation[f"cam_{name}_intrinsics"] = picture.intrinsics.astype(np.float32)
                observation[f"cam_{name}_extrinsics"] = picture.extrinsics.astype(np.float32)
        return observation

    def _observation_space(self) -> spaces.Dict:
        height, width = self.size
        picture = spaces.Box(0, 255, (height, width, 3), np.uint8)
        entries: dict[str, spaces.Space[Any]] = {
            "pixels": spaces.Dict(dict.fromkeys(self.cameras, picture)),
            "agent_pos": _unbounded(len(self.state_names)),
        }
        if self.depth:
            for name in self.cameras:
                entries[f"depth_{name}"] = spaces.Box(0.0, np.inf, (height, width, 1), np.float32)
                entries[f"cam_{name}_intrinsics"] = _unbounded(3, 3)
                entries[f"cam_{name}_extrinsics"] = _unbounded(4, 4)
        return spaces.Dict(entries)


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels, if a picture can have it."""
    if len(size) != 2 or min(size) < SMALLEST_SIDE or any(int(side) != side for side in size):
        raise ValueError(
            f"size: got {size}, wanted (height, width), each a whole number, {SMALLEST_SIDE} or more."
        )
    return int(size[0]), int(size[1])


def _unbounded(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)
