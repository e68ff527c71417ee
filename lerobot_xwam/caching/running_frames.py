"""Windows in the dataset's order overlap: decode a stretch of an episode once, not each window for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

STRETCH_BYTES = 400e6  # decoded frames kept, of all cameras together

Query = Callable[[dict[str, list[float]], int], dict[str, Tensor]]


class RunningFrames:
    """Stands in for a dataset reader's `_query_videos` and gives the same frames."""

    def __init__(self, query: Query, fps: int, lengths: list[int], most_frames: int) -> None:
        """`lengths`: of the episodes; `most_frames`: decoded at a time, of every camera."""
        self._query, self._fps, self._lengths, self._most = query, fps, lengths, most_frames
        self._episode, self._first, self._frames = -1, 0, dict[str, Tensor]()

    def __call__(self, timestamps: dict[str, list[float]], episode: int) -> dict[str, Tensor]:
        """{camera: seconds in the episode} -> {camera: frames}, as LeRobot asks for one window."""
        numbers = {key: [round(second * self._fps) for second in ts] for key, ts in timestamps.items()}
        wanted = [number for each in numbers.values() for number in each]
        if not wanted:
            return self._query(timestamps, episode)
        if max(wanted) - min(wanted) >= self._most:
            return self._query(timestamps, episode)
        if episode != self._episode or not self._has(min(wanted)) or not self._has(max(wanted)):
            self._decode(list(numbers), episode, min(wanted))
        return {key: self._pick(key, each) for key, each in numbers.items()}

    def _decode(self, keys: list[str], episode: int, first: int) -> None:
        until = min(first + self._most, self._lengths[episode])
        seconds = [number / self._fps for number in range(first, until)]
        frames = self._query(dict.fromkeys(keys, seconds), episode)
        # A single frame comes without the axis of time.
        self._frames = {key: each if len(seconds) > 1 else each[None] for key, each in frames.items()}
        self._episode, self._first = episode, first

    def _has(self, number: int) -> bool:
        return any(self._first <= number < self._first + len(frames) for frames in self._frames.values())

    def _pick(self, key: str, numbers: list[int]) -> Tensor:
        frames = self._frames[key][[number - self._first for number in numbers]]
        return frames if len(numbers) > 1 else frames[0]


def remember_frames(dataset: Any) -> None:
    """Let a LeRobotDataset that is read in order decode each frame once."""
    meta, reader = dataset.meta, dataset._ensure_reader()
    if not meta.video_keys:
        return
    shapes = [(meta.features[key]["shape"], key in meta.depth_keys) for key in meta.video_keys]
    one = sum(shape[0] * shape[1] * shape[2] * (4 if depth else 1) for shape, depth in shapes)
    most = max(32, int(STRETCH_BYTES / one))
    lengths = [int(length) for length in meta.episodes["length"]]
    reader._query_videos = RunningFrames(reader._query_videos, meta.fps, lengths, most)
