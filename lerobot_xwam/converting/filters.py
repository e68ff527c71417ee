"""Which episodes and frames the paper leaves out, and how much that was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..space.pauses import moving_frames
from ..space.readings import BadEpisodeError
from .recording import Recording
from .settings import Settings


class FilteredError(BadEpisodeError):
    """An episode that is sound, and not wanted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:  # it travels between processes
        return type(self), (self.reason, str(self))


def refuse_unwanted(recording: Recording, settings: Settings) -> None:
    """Whole episodes. What is not known of one does not count against it."""
    name = recording.name
    if "failed" in settings.filters and recording.succeeded is False:
        raise FilteredError("failed", f"{name}: the task was not done")
    if "hands" in settings.filters and recording.dexterous:
        raise FilteredError("hands", f"{name}: done with dexterous hands, not grippers")
    base = recording.base
    if "locomotion" not in settings.filters or base is None:
        return
    if base.metres > settings.base_metres or base.radians > settings.base_radians:
        raise FilteredError(
            "locomotion", f"{name}: its base travels {base.metres:.2f} m and turns {base.radians:.2f} rad"
        )


def wanted_frames(recording: Recording, settings: Settings) -> NDArray[np.int64]:
    """Those that are not stationary, if that is asked for."""
    if "stationary" not in settings.filters:
        return np.arange(len(recording))
    return moving_frames(recording.states, recording.fps, settings.stillness())


def unknown_to_filters(recording: Recording, settings: Settings) -> list[str]:
    """Filters that had nothing to go by."""
    known = {
        "failed": recording.succeeded is not None,
        "hands": recording.dexterous is not None,
        "locomotion": recording.base is not None,
    }
    return [name for name in settings.filters if not known.get(name, True)]


def summary(
    settings: Settings, episodes: Iterable[dict[str, Any]], filtered: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Per filter what it took away, and of how many episodes it could tell nothing."""
    taken, episodes = Counter(filtered), list(episodes)
    unknown = Counter(name for episode in episodes for name in episode.get("unknown", ()))
    result: dict[str, dict[str, float]] = {}
    for name in settings.filters:
        if name == "stationary":
            result[name] = {
                "frames": sum(episode["stationary_frames"] for episode in episodes),
                "of_frames": sum(episode["source_frames"] for episode in episodes),
                "episodes": sum(episode["stationary_frames"] > 0 for episode in episodes),
            }
        else:
            result[name] = {"episodes": taken[name], "unknown": unknown[name]}
    return result


def resampling(
    episodes: Iterable[dict[str, Any]], fps: float, size: tuple[int, int]
) -> dict[str, dict[str, int]]:
    """What the pictures and rates were, and what was made of them: episodes and frames."""
    result: dict[str, dict[str, int]] = {}
    for episode in episodes:
        was = f"{' and '.join(episode['source_sizes'])} at {episode['source_fps']:.4g} fps"
        counts = result.setdefault(
            f"{was} -> {size[0]}x{size[1]} at {fps:g} fps", {"episodes": 0, "source_frames": 0, "frames": 0}
        )
        counts["episodes"] += 1
        counts["source_frames"] += episode["source_frames"]
        counts["frames"] += episode["frames"]
    return result
