"""The packed batch: what the processor writes and the policy reads, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

VIDEO = "observation.xwam.video"
DEPTH = "observation.xwam.depth"
STATE = "observation.xwam.state"
STATE_MASK = "observation.xwam.state_mask"
ACTION_MASK = "observation.xwam.action_mask"
ACTION = "action"
TASK = "task"


@dataclass(frozen=True)
class Observation:
    """What the robot knows when it acts."""

    video: Tensor  # B V F 3 H W in [-1, 1]; only frame 0 matters for acting
    states: Tensor  # B S P, scaled and padded
    tasks: list[str]

    @classmethod
    def of(cls, batch: dict[str, Any]) -> Observation:
        _need(batch, VIDEO, STATE, TASK)
        return cls(batch[VIDEO], batch[STATE], list(batch[TASK]))


@dataclass(frozen=True)
class Clip:
    """A training window: what was seen, done and said."""

    observation: Observation
    actions: Tensor  # B K A, scaled and padded
    action_mask: Tensor  # B K A: the arm is there and the step lies inside the episode
    state_mask: Tensor  # B S P
    depth: Tensor | None  # B V F 2 H W: depth code in [-1, 1], and 1 where there was a reading

    @classmethod
    def of(cls, batch: dict[str, Any]) -> Clip:
        _need(batch, ACTION, ACTION_MASK, STATE_MASK)
        return cls(
            Observation.of(batch),
            batch[ACTION],
            batch[ACTION_MASK],
            batch[STATE_MASK],
            batch.get(DEPTH),
        )


def _need(batch: dict[str, Any], *keys: str) -> None:
    if missing := [key for key in keys if key not in batch]:
        raise ValueError(
            f"the batch lacks {', '.join(missing)}; it holds {sorted(batch)}. Run it through the policy's "
            "preprocessor first (lerobot.policies.factory.make_pre_post_processors)"
        )
