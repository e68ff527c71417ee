"""Datasets that are written: slow encoders are waited for, and what waits for them is little."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest
from lerobot.datasets import compute_stats as statistics
from lerobot.datasets import video_utils

from lerobot_xwam.data.writing import FRAMES_WAITING, create_dataset, quiet_encoders

FRAMES = 2 * FRAMES_WAITING
FEATURES = {
    "observation.images.top": {"dtype": "video", "shape": (16, 24, 3), "names": ["h", "w", "c"]},
    "action": {"dtype": "float32", "shape": (2,), "names": None},
}


def test_slow_encoders_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LeRobot would give up after two minutes, here after none, and keep a film that is cut off."""
    thread = video_utils._CameraEncoderThread
    waiting: list[int] = []
    right = statistics.auto_downsample_height_width

    def join(self: object, timeout: float | None = None) -> None:
        super(thread, self).join(None if timeout is None else 0.0)  # type: ignore[misc]

    def slowly(picture: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        return right(picture)

    monkeypatch.setattr(thread, "join", join, raising=False)
    monkeypatch.setattr(statistics, "auto_downsample_height_width", slowly)
    with quiet_encoders():
        dataset = create_dataset(tmp_path / "set", "local/set", 10, FEATURES, "none", FRAMES)
        for frame in range(FRAMES):
            picture = np.full((16, 24, 3), frame, np.uint8)
            action = np.zeros(2, np.float32)
            dataset.add_frame({"observation.images.top": picture, "action": action, "task": "t"})
            queues = dataset.writer._streaming_encoder._frame_queues
            waiting += [each.qsize() for each in queues.values()]
        dataset.save_episode()
        dataset.finalize()
    assert max(waiting) <= FRAMES_WAITING
    (film,) = (tmp_path / "set" / "videos").rglob("*.mp4")
    with av.open(str(film)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == FRAMES
