"""The simulator that knows what follows: replays a recorded episode to a moment, and does what is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lerobot_xwam.data.batch import Clip, Observation
from lerobot_xwam.envs.robosuite.cameras import SLOTS, resolve
from lerobot_xwam.envs.robosuite.interfaces import controls_of
from lerobot_xwam.envs.robosuite.tasks import get_task
from lerobot_xwam.world.calibration import PREFIX
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.footage import Floats
from lerobot_xwam.world.live import LiveWorld, Raw, open_live
from lerobot_xwam.world.opening import STATE, Episodes, Opened

from .probes import Start

ENVIRONMENT = "xwam_robosuite"
SAME = 2e-3  # of a state's number that a replay may be off: datasets hold single precision


@dataclass(frozen=True)
class Collected:
    """What `lerobot-xwam collect` wrote down of a dataset."""

    settings: dict[str, Any]
    episodes: list[dict[str, Any]]  # task, seed, frames, disturbed

    @classmethod
    def read(cls, dataset: Path) -> Collected:
        path = dataset / "meta/collected.json"
        if not path.is_file():
            raise ValueError(
                f"{dataset}: no meta/collected.json; wanted a dataset of `lerobot-xwam collect`, whose seeds "
                "and actions the simulator can replay"
            )
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["settings"].get("behaviour", "expert") != "expert":
            raise ValueError(
                f"{dataset}: collected with --behaviour play, whose episodes begin somewhere on an expert's "
                "way: they cannot be replayed. Collect it with --behaviour expert"
            )
        if held["settings"]["noise"]:
            raise ValueError(
                f"{dataset}: collected with --noise {held['settings']['noise']}; what was recorded is not "
                "what was done then, and cannot be replayed. Collect it with --noise 0"
            )
        return cls(held["settings"], held["episodes"])

    @property
    def tasks(self) -> list[str]:
        """Task of every episode."""
        return [each["task"] for each in self.episodes]

    def options(self, task: str) -> dict[str, Any]:
        """The environment in which an episode of this task was collected."""
        height, width = self.settings["size"]
        return {
            "task": task,
            "cameras": ",".join(self.settings["cameras"]),
            "observation_height": height,
            "observation_width": width,
            "interface": self.settings["interface"],
            "arms": self.settings["arms"],
        }


def starts(episodes: Episodes, collected: Collected, count: int) -> Iterator[Start]:
    """So many moments of every episode, spread over it."""
    config = episodes.config
    for episode, held in enumerate(collected.episodes):
        rows = episodes.rows(episode, ["action", STATE])
        actions, states = rows["action"].astype(np.float32), rows[STATE].astype(np.float32)
        for start in episodes.spread(episode, count + 2)[1:-1]:  # at its end an episode may be over early
            frame = start // config.actions_per_frame * config.actions_per_frame
            after = actions[frame : frame + config.chunk_size]
            yield Start(held["task"], held["seed"], episode, frame, actions[:frame], after, states[frame])


class Simulator:
    """One task's. What is done at a start does not touch what is done at it next time."""

    def __init__(self, opened: Opened, options: dict[str, Any]) -> None:
        self._world: LiveWorld = open_live(opened, ENVIRONMENT, options)
        self._inner: Any = self._world.env.envs[0].unwrapped
        self._stride = opened.policy.config.actions_per_frame
        self._frames = opened.policy.config.num_frames

    @property
    def arms(self) -> list[Any]:
        return self._inner.arms

    @property
    def interface(self) -> str:
        return self._inner.interface

    def static(self, cameras: Sequence[str]) -> list[str]:
        """Those of the policy's cameras that stand still in this task."""
        task = get_task(self._inner.task)
        return [name for name in cameras if resolve(name.removeprefix(PREFIX), task) in SLOTS]

    def at(self, start: Start) -> Raw:
        """The moment, checked to be the recorded one."""
        now = self._world.reset(start.seed)
        quick, shown = start.before[: -self._stride], start.before[-self._stride :]
        for action in quick:  # without pictures
            env = self._inner
            env.world.step(controls_of(env.arms, action, env.interface, env.action_names))
        if len(shown):
            now = self._world.happen(now, shown)[-1]
        off = float(np.abs(np.asarray(now[STATE][0]) - start.state).max())
        if not off < SAME:
            raise ValueError(
                f"episode {start.episode} (seed {start.seed}), frame {start.frame}: the replay is {off:.3g} "
                "off in its state. Was the dataset collected with another version of the simulator? Collect "
                "it anew"
            )
        return now

    def observation(self, now: Raw) -> Observation:
        return self._world.observation(now)

    def do(self, start: Start, actions: Floats) -> Clip | None:
        """From the start on; None if the episode's end comes before that of the actions."""
        frames = self._world.happen(self.at(start), actions)
        if len(frames) < self._frames:
            return None
        done = self._world.happened(frames, actions, start.seed, start.frame, effectors_of_layout)
        return done.clip

    def close(self) -> None:
        self._world.env.close()
