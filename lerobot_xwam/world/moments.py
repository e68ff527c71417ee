"""The moment from which a future is imagined: of a recording, of a simulator, or one that was saved.

A saved observation is an .npz file with

    observation.images.<camera>   H W 3 uint8, one for each camera that the policy sees
    observation.state             P numbers, in the units of the training data
    task                          the instruction
    fps                           control steps per second (or --fps)

Where its cameras are is said by a calibration file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lerobot_xwam.data.batch import Clip, Observation

from .cameras import Rig
from .effectors import Effectors
from .footage import Floats, Footage
from .live import LiveWorld, Raw
from .opening import STATE, Episodes, Opened
from .showing.exhibition import first_frames
from .world_model import WorldModel

NOWHERE = Rig({})
SAVED = (__doc__ or "").partition("with\n\n")[2].partition("\n\nWhere")[0]


@dataclass(frozen=True)
class Followed:
    """What happened after the moment."""

    truth: Footage
    rig: Rig
    refused: Mapping[str, str] = field(default_factory=dict)  # camera that is not in the rig -> why


@dataclass(frozen=True)
class Moment:
    model: WorldModel
    observation: Observation  # a batch of one
    recorded: Followed | None = None
    live: LiveMoment | None = None

    @property
    def task(self) -> str:
        return self.observation.tasks[0]


@dataclass(frozen=True)
class LiveMoment:
    """A simulator that waits to be acted in, once."""

    world: LiveWorld
    now: Raw
    seed: int
    start: int
    effectors: Effectors | None

    def follow(self, actions: Floats) -> Followed:
        """Do these, and see."""
        frames = self.world.happen(self.now, actions)
        wanted, known = self.world.opened.policy.config.num_frames, len(frames)
        frames += [frames[-1]] * (wanted - known)
        done = self.world.happened(frames, actions, self.seed, self.start, self.effectors)
        truth = first_frames(self.world.model.recorded(done.clip), known)
        return Followed(truth, done.rig, done.refused)


def recorded_moment(
    opened: Opened, episodes: Episodes, episode: int, frame: int, effectors: Effectors | None
) -> Moment:
    """A frame of a dataset, and what was recorded after it."""
    length, config = episodes.length(episode), opened.policy.config
    if not 0 <= frame < length:
        raise ValueError(f"--frame {frame}: episode {episode} has frames 0 to {length - 1}")
    model = opened.world_model(episodes.fps)
    clip = Clip.of(opened.preprocess(episodes.window(episode, frame)))
    known = min(config.num_frames, (length - 1 - frame) // config.actions_per_frame + 1)
    truth = first_frames(model.recorded(clip), known)
    return Moment(model, clip.observation, Followed(truth, *episodes.rig(episode, effectors)))


def live_moment(
    world: LiveWorld, seed: int, start: int, noise_seed: int, effectors: Effectors | None
) -> Moment:
    """A simulated episode after the policy has done `start` control steps of its own."""
    now, step = world.reset(seed), 0
    config = world.opened.policy.config
    if start % config.actions_per_frame:
        raise ValueError(
            f"--frame {start}: in a simulator a multiple of {config.actions_per_frame}, the control steps "
            "between two frames"
        )
    while step < start:
        actions = world.model.act(world.observation(now), noise_seed)[: start - step]
        frames = world.happen(now, actions)
        if len(frames) - 1 < len(actions) // config.actions_per_frame:
            raise ValueError(f"--frame {start}: the episode of seed {seed} ended before; choose an earlier")
        now, step = frames[-1], step + len(actions)
    live = LiveMoment(world, now, seed, start, effectors)
    return Moment(world.model, world.observation(now), live=live)


def saved_moment(opened: Opened, path: Path, fps: float | None) -> Moment:
    """An observation in a file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise ValueError(f"--observation {path}: no .npz of plain arrays ({error})") from error
    cameras = opened.policy.config.cameras
    if missing := [key for key in (*cameras, STATE, "task") if key not in held]:
        raise ValueError(
            f"--observation {path}: lacks {', '.join(missing)}; it has {sorted(held)}. Wanted\n{SAVED}"
        )
    rate = fps or float(held.get("fps", 0))
    if not rate > 0:
        raise ValueError(
            f"--observation {path}: has no fps; give --fps, the robot's control steps per second"
        )
    raw: dict[str, Any] = {camera: _picture(held[camera], f"{path}: {camera}") for camera in cameras}
    state = np.asarray(held[STATE], dtype=np.float32)
    if state.ndim != 1 or not np.isfinite(state).all():
        raise ValueError(f"--observation {path}: {STATE} of shape {state.shape}, wanted P finite numbers")
    raw |= {STATE: torch.from_numpy(state).unsqueeze(0), "task": [str(held["task"])]}
    return Moment(opened.world_model(rate), Observation.of(opened.preprocess(raw)))


def _picture(pixels: np.ndarray, where: str) -> torch.Tensor:
    """-> 1 3 H W in [0, 1]"""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            f"--observation {where}: {pixels.dtype} of shape {pixels.shape}, wanted uint8 of H W 3, RGB"
        )
    return torch.from_numpy(pixels).movedim(-1, 0).unsqueeze(0).float() / 255
