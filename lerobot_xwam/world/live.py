"""The paper's protocol: the policy acts in a simulator, then what it imagined meets what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lerobot_xwam.data.batch import Clip, Observation

from .cameras import Rig
from .effectors import Effectors
from .footage import Floats
from .found_cameras import find_rig, seen_in_rows
from .opening import STATE, Opened
from .world_model import WorldModel

Raw = dict[str, Any]


@dataclass(frozen=True)
class Happened:
    """One chunk that was executed."""

    clip: Clip
    seed: int
    start: int  # control step at which it began
    rig: Rig
    refused: dict[str, str]  # cameras that are not in the rig, and why


@dataclass(frozen=True)
class LiveWorld:
    """An environment of LeRobot with one copy of itself, and a policy that acts in it."""

    opened: Opened
    model: WorldModel
    env: Any  # gymnasium vector environment of one
    env_preprocess: Any
    env_postprocess: Any

    def chunks(
        self, seed: int, most: int, effectors: Effectors | None, noise_seed: int
    ) -> Iterator[Happened]:
        """Up to `most` executed chunks of one episode; one that the episode's end cuts short is left out.

        What is done is the draft of `noise_seed`: imagining with this seed paints the future of these very
        actions.
        """
        config = self.opened.policy.config
        now = self.reset(seed)
        for index in range(most):
            actions = self.model.act(self.observation(now), noise_seed)
            frames = self.happen(now, actions)
            if len(frames) < config.num_frames:
                return
            yield self.happened(frames, actions, seed, index * config.chunk_size, effectors)
            now = frames[-1]

    def reset(self, seed: int) -> Raw:
        """What an episode's first moment looks like."""
        raw, _ = self.env.reset(seed=[seed])
        return self._observe(raw)

    def observation(self, now: Raw) -> Observation:
        return Observation.of(self.opened.preprocess(dict(now)))

    def happen(self, now: Raw, actions: Floats) -> list[Raw]:
        """Do them. -> the moments at which there are frames; fewer, if the episode ends on the way."""
        frames = [now]
        for step, action in enumerate(torch.from_numpy(actions), start=1):  # robot units
            done, now = self._act(action)
            if done:
                break
            if step % self.opened.policy.config.actions_per_frame == 0:
                frames.append(now)
        return frames

    def happened(
        self, frames: list[Raw], actions: Floats, seed: int, start: int, effectors: Effectors | None
    ) -> Happened:
        """Executed actions and all their frames as one chunk."""
        clip = Clip.of(self.opened.preprocess(_stacked(frames, torch.from_numpy(actions))))
        return Happened(clip, seed, start, *self._rig(frames, effectors))

    def _act(self, action: torch.Tensor) -> tuple[bool, Raw]:
        from lerobot.utils.constants import ACTION

        executed = self.env_postprocess({ACTION: action.unsqueeze(0)})[ACTION]
        raw, _, terminated, truncated, _ = self.env.step(executed.cpu().numpy())
        return bool(terminated[0] or truncated[0]), self._observe(raw)

    def _observe(self, raw: Raw) -> Raw:
        from lerobot.envs.utils import preprocess_observation

        tasks = list(self.env.call("task_description"))
        return self.env_preprocess(preprocess_observation(raw) | {"task": tasks})

    def _rig(self, frames: list[Raw], effectors: Effectors | None) -> tuple[Rig, dict[str, str]]:
        keys = [key for key in frames[0] if key.startswith("observation.camera.")]
        rows = {key: np.stack([np.asarray(frame[key][0]) for frame in frames]) for key in [*keys, STATE]}
        cameras = self.opened.policy.config.cameras
        sizes = {camera: tuple(frames[0][camera].shape[-2:]) for camera in cameras}
        return find_rig(seen_in_rows(rows, sizes, cameras), effectors and effectors(rows[STATE]))


def open_live(opened: Opened, env_type: str, options: dict[str, Any]) -> LiveWorld:
    """An environment by its registered name, with depth and camera matrices switched on if it has them."""
    from lerobot.envs.factory import make_env, make_env_config, make_env_pre_post_processors

    known = {"depth": True, "depth_unit": opened.policy.config.depth_unit}
    try:
        config = make_env_config(env_type, **{**known, **options})
    except TypeError as error:
        raise ValueError(f"--env {env_type}: {error}; wanted an environment with depth") from error
    (tasks,) = make_env(config, n_envs=1).values()
    before, after = make_env_pre_post_processors(config, opened.policy.config)
    return LiveWorld(opened, opened.world_model(config.fps), tasks[0], before, after)


def _stacked(frames: list[Raw], actions: torch.Tensor) -> Raw:
    """Observations of a chunk as a training window: B F ..., with what was done."""
    held = {
        key: torch.stack([frame[key] for frame in frames], dim=1)
        for key, value in frames[0].items()
        if key.startswith("observation.") and torch.is_tensor(value) and ".camera." not in key
    }
    return {**held, "action": actions.unsqueeze(0), "task": frames[0]["task"]}
