"""Fakes of RoboCasa's and RoboTwin's interfaces, as LeRobot's environments call them. Nothing is simulated.

recorded_robotwin.py has one that shows a recording; panda_omron.py drives robosuite in RoboCasa's place.

Keys, shapes and conventions are those that LeRobot 0.6.1's wrappers read and write.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest


class FakeRoboCasa:
    """`robocasa.wrappers.gym_wrapper.RoboCasaGymEnv`: a hand that goes where it is told."""

    taken: ClassVar[list[dict[str, np.ndarray]]] = []
    STATE: ClassVar[dict[str, np.ndarray]] = {
        "state.base_position": np.array([1.0, 2.0, 0.7]),
        "state.base_rotation": np.array([0.0, 0.0, 0.6, 0.8]),  # x y z w, like the hand's
        "state.end_effector_position_relative": np.array([0.4, -0.1, 0.2]),
        "state.end_effector_rotation_relative": np.array([0.8, 0.0, 0.6, 0.0]),
        "state.gripper_qpos": np.array([0.01, -0.01]),
    }

    def __init__(self, env_name: str, camera_widths: int, camera_heights: int, **_: Any) -> None:
        self.size, self.env = (camera_heights, camera_widths), self

    def get_ep_meta(self) -> dict[str, str]:
        return {"lang": "close the drawer"}

    def _observation(self) -> dict[str, np.ndarray]:
        image = np.full((*self.size, 3), 90, np.uint8)
        cameras = ("robot0_agentview_left", "robot0_eye_in_hand", "robot0_agentview_right")
        return {**self.STATE, **{f"video.{name}": image for name in cameras}}

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._observation(), {}

    def step(self, action: dict[str, np.ndarray]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.taken.append({key: value.copy() for key, value in action.items()})
        return self._observation(), 0.0, False, False, {"success": False}

    def render(self) -> np.ndarray:
        return np.zeros((64, 64, 3), np.uint8)

    def close(self) -> None: ...


def install_robocasa(monkeypatch: pytest.MonkeyPatch) -> type[FakeRoboCasa]:
    wrapper = ModuleType("robocasa.wrappers.gym_wrapper")
    wrapper.RoboCasaGymEnv = FakeRoboCasa  # type: ignore[attr-defined]
    for name in ("robocasa", "robocasa.wrappers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "robocasa.wrappers.gym_wrapper", wrapper)
    monkeypatch.setattr(FakeRoboCasa, "taken", [])
    return FakeRoboCasa


class FakeRoboTwin:
    """A RoboTwin task: two hands that come as far as `follows` of the way to where they are told to go."""

    follows: ClassVar[float] = 1.0
    taken: ClassVar[list[np.ndarray]] = []
    HOME: ClassVar[np.ndarray] = np.array(
        [-0.3, -0.2, 0.9, 0.5, 0.5, 0.5, 0.5, 1.0, 0.3, -0.2, 0.9, 0.5, -0.5, 0.5, -0.5, 0.0]
    )

    def setup_demo(self, **_: Any) -> None:
        self.pose = self.HOME.copy()

    def get_obs(self) -> dict[str, Any]:
        left, right = self.pose[:8], self.pose[8:]
        image = np.full((48, 64, 3), 90, np.uint8)
        return {
            "observation": {
                name: {"rgb": image}
                for name in ("front_camera", "head_camera", "left_camera", "right_camera")
            },
            "joint_action": {"vector": np.zeros(14)},
            "endpose": {
                "left_endpose": left[:7].tolist(),
                "left_gripper": left[7],
                "right_endpose": right[:7].tolist(),
                "right_gripper": right[7],
            },
        }

    def take_action(self, action: np.ndarray, action_type: str = "qpos") -> None:
        assert action_type == "ee" and action.shape == (16,)
        self.taken.append(action.copy())
        mixed = self.pose + self.follows * (action - self.pose)
        for at in (slice(3, 7), slice(11, 15)):
            mixed[at] /= np.linalg.norm(mixed[at])
        self.pose = mixed

    def check_success(self) -> bool:
        return False


def install_robotwin(monkeypatch: pytest.MonkeyPatch, follows: float = 1.0) -> type[FakeRoboTwin]:
    from lerobot.envs import robotwin

    monkeypatch.setattr(robotwin, "_load_robotwin_task", lambda _: FakeRoboTwin)
    monkeypatch.setattr(robotwin, "_load_robotwin_setup_kwargs", lambda _: {})
    monkeypatch.setattr(FakeRoboTwin, "taken", [])
    monkeypatch.setattr(FakeRoboTwin, "follows", follows)
    return FakeRoboTwin
