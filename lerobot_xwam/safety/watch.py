"""Is the world still being seen, and is the policy in time? Frozen cameras and missed deadlines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..robot_settings import RobotSettings

logger = logging.getLogger(__name__)


class FrozenCamera(RuntimeError):
    """A camera shows the same image again and again: whatever the robot does now, it does blindly."""


class Watch:
    """Over one policy. `late` and `slowest` are for whoever wants to read them."""

    def __init__(self) -> None:
        self.late = 0  # chunks after their deadline, since the policy was made
        self.slowest = 0.0  # seconds
        self.new_episode()

    def new_episode(self) -> None:
        self._seen: Tensor | None = None  # B V F 3 H W
        self._repeated: list[int] = []  # per camera
        self._told = False

    def sees_nothing_new(self, video: Tensor, cameras: list[str], settings: RobotSettings) -> bool:
        """Whether to hold: a camera has repeated its image, in every sample, `stale_after` times."""
        if not settings.stale_after:
            return False
        before, self._seen = self._seen, video
        if before is None or before.shape != video.shape:
            self._repeated = [0] * video.shape[1]
            return False
        same = (before == video).transpose(0, 1).flatten(1).all(dim=1).tolist()  # per camera
        self._repeated = [
            count + 1 if again else 0 for count, again in zip(self._repeated, same, strict=True)
        ]
        frozen = [
            name
            for name, count in zip(cameras, self._repeated, strict=False)
            if count >= settings.stale_after
        ]
        if not frozen:
            self._told = False
            return False
        message = (
            f"{', '.join(frozen)}: the same image for {max(self._repeated) + 1} chunks. Is the camera still "
            "connected? (--policy.stale_after, --policy.on_stale)"
        )
        if settings.on_stale == "stop":
            raise FrozenCamera(message)
        if not self._told:
            self._told = True
            logger.warning("X-WAM: %s%s", message, "; holding" if settings.on_stale == "hold" else "")
        return settings.on_stale == "hold"

    @contextmanager
    def chunk(self, device: torch.device, settings: RobotSettings, delay: int) -> Iterator[None]:
        """Around the making of a chunk."""
        if not settings.deadline_s:
            yield
            return
        begin = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        took = time.perf_counter() - begin
        self.slowest = max(self.slowest, took)
        if took > settings.deadline_s:
            self.late += 1
            logger.warning(
                "X-WAM: a chunk took %.0f ms, %.0f were allowed (deadline_s; %d actions of delay were "
                "expected); late for the %d. time",
                1000 * took,
                1000 * settings.deadline_s,
                delay,
                self.late,
            )
