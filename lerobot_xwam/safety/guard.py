"""The last step before the robot: nothing broken leaves, nothing leaves the dataset's range and speed.

A value that is all right passes bit for bit. What is changed is said, once an episode and kind.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.lerobot_types import PolicyAction
from lerobot.processor import PolicyActionProcessorStep, ProcessorStepRegistry
from torch import Tensor

from .limits import ActionLimits

Hold = Literal["last", "still"]
NOT_READ_YET = ActionLimits.none(0)  # a saved pipeline is rebuilt empty; load_state_dict brings the numbers

logger = logging.getLogger(__name__)


@dataclass
@ProcessorStepRegistry.register(name="xwam_guard_action")
class XWAMGuardActionStep(PolicyActionProcessorStep):
    """Actions in robot units, B A (one after the other) or B K A (a whole chunk).

    The change from one action to the next is limited within a chunk, and between actions that come one by
    one. Between chunks of B K A it is the prefix of real-time chunking that does it: nobody can know here
    which action of the last chunk was the last to be executed.
    """

    limited: bool  # to the range and speed below; else only NaN and infinity are kept back
    hold: Hold  # instead of a broken action: the last one again (targets), or zero (deltas: stand still)
    limits: ActionLimits = field(default=NOT_READ_YET, repr=False)
    _last: Tensor | None = field(default=None, init=False, repr=False)  # B A, as it left
    _said: set[str] = field(default_factory=set, init=False, repr=False)

    def action(self, action: PolicyAction) -> PolicyAction:
        chunk = action if action.dim() == 3 else action.unsqueeze(1)  # B K A
        before = self._last if action.dim() == 2 and self._last is not None else None
        if before is not None and before.shape != chunk[:, 0].shape:
            before = None
        if not self._is_fine(chunk, before):
            rows = []
            for row in chunk.unbind(dim=1):
                before = self._passed(row, before)
                rows.append(before)
            chunk = torch.stack(rows, dim=1)
        self._last = chunk[:, 0].clone() if action.dim() == 2 else None
        return chunk if action.dim() == 3 else chunk.squeeze(1)

    def _is_fine(self, chunk: Tensor, before: Tensor | None) -> bool:
        """The usual case, in a few operations."""
        if not torch.isfinite(chunk).all():
            return False
        if not self.limited:
            return True
        low, high, step = (limit.to(chunk) for limit in (self.limits.low, self.limits.high, self.limits.step))
        path = chunk if before is None else torch.cat([before.to(chunk).unsqueeze(1), chunk], dim=1)
        inside = ((chunk >= low) & (chunk <= high)).all()
        return bool(inside and (path.diff(dim=1).abs() <= step).all())

    def _passed(self, row: Tensor, before: Tensor | None) -> Tensor:
        """One action, B A, made safe."""
        broken = ~torch.isfinite(row).all(dim=-1, keepdim=True)  # B 1: a whole action, not half of one
        if broken.any():
            row = torch.where(broken, self._held(row, before), row)
        if not self.limited:
            return row
        inside = torch.maximum(torch.minimum(row, self.limits.high.to(row)), self.limits.low.to(row))
        self._say_if_changed("range", row, inside, "outside of the dataset's range")
        if before is None:
            return inside
        step, before = self.limits.step.to(row), before.to(row)
        slow = torch.maximum(torch.minimum(inside, before + step), before - step)
        self._say_if_changed("speed", inside, slow, "a larger step than any in the dataset")
        return slow

    def _held(self, row: Tensor, before: Tensor | None) -> Tensor:
        if self.hold == "last" and before is None:
            raise ValueError(
                "action: the policy's first action is NaN or infinite and there is none to hold on to; "
                "nothing was sent. Check the checkpoint and the dataset's statistics"
            )
        still = self.hold == "still" or before is None
        self._say("broken", f"NaN or infinite: {'standing still' if still else 'holding the last one'}")
        return torch.zeros_like(row) if before is None or still else before.to(row)

    def _say_if_changed(self, kind: str, wanted: Tensor, allowed: Tensor, why: str) -> None:
        if kind in self._said or torch.equal(wanted, allowed):
            return
        sample, dim = (wanted != allowed).nonzero()[0].tolist()
        self._say(
            kind, f"dim {dim} wants {wanted[sample, dim]:.4g}, {why}: {allowed[sample, dim]:.4g} is sent"
        )

    def _say(self, kind: str, what: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.warning("X-WAM: action %s (said once an episode)", what)

    def reset(self) -> None:
        """A new episode: the robot may stand anywhere."""
        self._last = None
        self._said.clear()

    def get_config(self) -> dict[str, Any]:
        return {"limited": self.limited, "hold": self.hold}

    def state_dict(self) -> dict[str, Tensor]:
        return self.limits.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.limits = ActionLimits.from_state_dict(state)

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        return features


def guard_for(
    mode: str, *, deltas: bool, dims: int, stats: dict[str, Any], largest: Callable[[], Tensor | None]
) -> list[XWAMGuardActionStep]:
    """The step that a mode of `action_guard` asks for, if any. `largest` is only asked where steps matter.

    Deltas are speeds themselves, and 0 is "stay": only targets have a largest step, and are held.
    """
    if mode == "off":
        return []
    limits = None
    if mode == "limits" or (mode == "auto" and not deltas):
        limits = ActionLimits.fit(stats, None if deltas else largest())
        if limits is None and mode == "limits":
            logger.warning(
                "X-WAM: action_guard='limits', but the statistics have no finite min and max of the actions: "
                "only NaN and infinity will be kept back"
            )
    return [
        XWAMGuardActionStep(
            limited=limits is not None,
            hold="still" if deltas else "last",
            limits=limits or ActionLimits.none(dims),
        )
    ]
