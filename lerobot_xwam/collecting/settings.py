"""What is collected. Two runs with different settings cannot share a folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lerobot_xwam.envs.robosuite.cameras import check_cameras, default_cameras
from lerobot_xwam.envs.robosuite.env import check_size
from lerobot_xwam.envs.robosuite.experts import EXPERTS
from lerobot_xwam.envs.robosuite.interfaces import action_names, check_interface, state_names
from lerobot_xwam.envs.robosuite.tasks import get_task, split_tasks

BEHAVIOURS = ("expert", "play")
SHARED_CAMERAS = ("front", "hand", "second")  # names that every task has


@dataclass(frozen=True)
class Settings:
    """Everything that an episode depends on, besides its seed. Not how many there are: more may be added."""

    tasks: tuple[str, ...]
    cameras: tuple[str, ...]
    size: tuple[int, int]  # height, width
    interface: str
    arms: int
    depth: bool
    camera_matrices: bool
    seed: int
    noise: float
    fps: int
    behaviour: str = "expert"

    @classmethod
    def checked(cls, tasks: str, cameras: list[str] | None, size: tuple[int, int], **rest: Any) -> Settings:
        """Settings that make sense together. `tasks`: with commas; no cameras: what the tasks share."""
        chosen = split_tasks(tasks)
        if strange := [task.name for task in chosen if task.name not in EXPERTS]:
            raise ValueError(f"--task {','.join(strange)}: there are experts for {', '.join(EXPERTS)} only")
        if cameras is None:
            own = {default_cameras(task) for task in chosen}
            cameras = list(own.pop() if len(own) == 1 else SHARED_CAMERAS)
        for task in chosen:
            check_cameras(cameras, task)
        settings = cls(tuple(task.name for task in chosen), tuple(cameras), check_size(size), **rest)
        check_interface(settings.interface, settings.arms)
        if settings.seed < 0:
            raise ValueError(f"--seed {settings.seed}: wanted 0 or more")
        if not 0.0 <= settings.noise <= 1.0:
            raise ValueError(f"--noise {settings.noise}: wanted the part of disturbed episodes, 0 to 1")
        if settings.behaviour not in BEHAVIOURS:
            raise ValueError(f"--behaviour {settings.behaviour}: wanted one of {', '.join(BEHAVIOURS)}")
        if settings.plays and settings.noise:
            raise ValueError(
                f"--behaviour play --noise {settings.noise}: nothing is aimed at, so nothing can be disturbed"
            )
        settings._one_width()
        return settings

    @property
    def plays(self) -> bool:
        """Hands that wander, in place of an expert that solves the task."""
        return self.behaviour == "play"

    @property
    def state_names(self) -> list[str]:
        """Of the state vector, the same for all tasks."""
        return state_names(get_task(self.tasks[0]), self.interface, self.arms)

    @property
    def action_names(self) -> list[str]:
        """Of the action vector, the same for all tasks."""
        return action_names(get_task(self.tasks[0]), self.interface, self.arms)

    def to_json(self) -> str:
        """For the staging folder."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def differences(self, text: str) -> list[str]:
        """What settings written by `to_json` have otherwise, one line each."""
        there: dict[str, Any] = json.loads(text)
        here: dict[str, Any] = json.loads(self.to_json())
        return [
            f"{name}: was {there.get(name)}, is {here.get(name)}"
            for name in sorted(there.keys() | here.keys())
            if there.get(name) != here.get(name)
        ]

    def _one_width(self) -> None:
        widths = {name: len(state_names(get_task(name), self.interface, self.arms)) for name in self.tasks}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"--task {','.join(self.tasks)}: one dataset has one state, but these have {widths} numbers; "
                "use --arms 2 (with --interface ee or raw), or collect them apart"
            )
