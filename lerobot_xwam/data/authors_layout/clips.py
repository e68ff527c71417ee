"""Training windows of an episode: which frames and actions belong to one, and their values and masks.

Measured on what the authors' dataset class returns. The arm that is not there is masked and zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lerobot_xwam.space.poses import ACTION
from lerobot_xwam.space.resampling import actions_towards
from lerobot_xwam.space.rotations import Array

from .episode import BadEpisodeError, Episode


@dataclass(frozen=True)
class ClipPlan:
    """Each `frame_skip`-th frame is seen; each `action_skip`-th starts an action that lasts till the next."""

    frames: int = 9
    frame_skip: int = 4
    action_skip: int = 1

    def __post_init__(self) -> None:
        if self.frames < 2 or self.frame_skip < 1 or self.action_skip < 1 or self.span % self.action_skip:
            raise ValueError(
                f"{self.frames} frames, each {self.frame_skip} apart, hold no whole number of actions of "
                f"{self.action_skip} frames"
            )

    @property
    def span(self) -> int:
        """From the first seen frame to the last."""
        return (self.frames - 1) * self.frame_skip

    def starts(self, episode_frames: int) -> range:
        return range(max(episode_frames - self.span, 0))

    def frame_ids(self, start: int) -> list[int]:
        return list(range(start, start + self.span + 1, self.frame_skip))

    def action_ids(self, start: int) -> list[int]:
        return list(range(start, start + self.span, self.action_skip))


@dataclass(frozen=True)
class ClipValues:
    """In the dataset's units."""

    states: Array  # S 8|16
    actions: Array  # K 7|14


def universal_actions(episode: Episode, action_skip: int = 1) -> Array:
    """The action that starts at each frame. Raw controller actions go before deltas.  # T-skip.. 7|14"""
    if episode.raw_actions is not None:
        return from_controller(episode.raw_actions)
    if episode.targets is None:
        raise BadEpisodeError(f"{episode.name}: has neither commanded poses nor raw actions")
    return actions_towards(episode.states, episode.targets, action_skip)


def cut(episode: Episode, plan: ClipPlan, start: int) -> ClipValues:
    if start not in plan.starts(episode.frames):
        raise ValueError(
            f"{episode.name}: no window of {plan.span + 1} frames starts at frame {start} of {episode.frames}"
        )
    actions = universal_actions(episode, plan.action_skip)
    return ClipValues(episode.states[plan.frame_ids(start)], actions[plan.action_ids(start)])


def padded(values: ArrayLike, width: int) -> tuple[Array, Array]:
    """Zeros for the arm that is not there, and the mask that says so.  # N D -> N width, N width"""
    values = np.asarray(values, dtype=np.float64)
    more = [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])]
    return np.pad(values, more), np.pad(np.ones_like(values), more)


def from_controller(raw: ArrayLike) -> Array:
    """A controller's own action -> the universal layout: its first seven numbers, and its gripper, where +1
    closes, turned round.  # ... 7|12 -> ... 7
    """
    raw = np.asarray(raw, dtype=np.float64)
    if raw.shape[-1] < ACTION:
        raise ValueError(f"raw actions of {raw.shape[-1]} numbers: wanted at least {ACTION}")
    action = raw[..., :ACTION].copy()
    action[..., -1] *= -1
    return action
