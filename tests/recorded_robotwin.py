"""A recorded fake of RoboTwin's interface: it shows what was recorded in an episode, whatever it is told.

No simulator and no physics: RoboTwin itself needs SAPIEN's renderer and assets. Keys, shapes and conventions
are those that LeRobot 0.6.1's wrapper reads and writes; the episode is a file of RoboTwin's own layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest

from lerobot_xwam.converting.robotwin import decode


class RecordedRoboTwin:
    """Frame t of the recording is shown after t actions; the poses it was told are kept."""

    file: ClassVar[Path]
    taken: ClassVar[list[np.ndarray]] = []

    def setup_demo(self, **_: Any) -> None:
        self._frame = 0

    def get_obs(self) -> dict[str, Any]:
        with h5py.File(self.file) as held:
            frame = min(self._frame, len(held["endpose/left_endpose"]) - 1)
            cameras = {
                name: {"rgb": decode(group["rgb"][frame], f"{name} at frame {frame}")}
                for name, group in held["observation"].items()
            }
            said = {key: held[f"endpose/{key}"][frame] for key in held["endpose"]}
        return {"observation": cameras, "joint_action": {"vector": np.zeros(14)}, "endpose": said}

    def take_action(self, action: np.ndarray, action_type: str = "qpos") -> None:
        assert action_type == "ee" and action.shape == (16,)
        self.taken.append(action.copy())
        self._frame += 1

    def check_success(self) -> bool:
        return False


def install(monkeypatch: pytest.MonkeyPatch, file: Path) -> type[RecordedRoboTwin]:
    """In the place of RoboTwin, which is not installed here."""
    from lerobot.envs import robotwin

    monkeypatch.setattr(robotwin, "_load_robotwin_task", lambda _: RecordedRoboTwin)
    monkeypatch.setattr(robotwin, "_load_robotwin_setup_kwargs", lambda _: {})
    monkeypatch.setattr(RecordedRoboTwin, "file", file, raising=False)
    monkeypatch.setattr(RecordedRoboTwin, "taken", [])
    return RecordedRoboTwin
