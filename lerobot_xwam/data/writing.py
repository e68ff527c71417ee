"""A new LeRobotDataset with encoders that suit RGB-D at the network's size: colour hardly blurred."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FRAMES_WAITING = 32  # for an encoder, in memory


def create_dataset(
    root: Path,
    repo_id: str,
    fps: int,
    features: dict[str, Any],
    robot_type: str,
    longest_episode: int,
    use_videos: bool = True,
) -> Any:
    from lerobot.configs.video import RGBEncoderConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset.create(
        repo_id=repo_id,
        fps=fps,
        features=features,
        root=root,
        robot_type=robot_type,
        use_videos=use_videos,
        # The default, AV1 at crf 30 with halved colour resolution, blurs pictures of this size.
        rgb_encoder=RGBEncoderConfig(vcodec="h264", pix_fmt="yuv444p", crf=12, preset="veryfast"),
        depth_encoder=depth_encoder(),
        video_backend="pyav",  # only for reading back, which does not happen here
        streaming_encoding=use_videos,
        encoder_queue_maxsize=longest_episode,  # LeRobot drops frames that do not fit
        encoder_threads=1,
    )
    if use_videos:
        _wait_for_encoders(dataset.writer._streaming_encoder)
    return dataset


def _wait_for_encoders(encoder: Any) -> None:
    """LeRobot gives an episode's encoders two minutes after its last frame, then keeps films that are cut off
    and only logs it: too little for long episodes with lossless depth, or on a busy machine. And all frames
    that wait for them lie in memory. Here who writes waits for them.
    """
    feed, finish = encoder.feed_frame, encoder.finish_episode

    def fed(key: str, frame: Any) -> None:
        while encoder._frame_queues[key].qsize() >= FRAMES_WAITING and encoder._threads[key].is_alive():
            time.sleep(0.005)
        feed(key, frame)

    def finished() -> Any:
        for frames in encoder._frame_queues.values():
            frames.put(None)  # LeRobot's own sign of the end
        for thread in encoder._threads.values():
            thread.join()
        return finish()

    encoder.feed_frame, encoder.finish_episode = fed, finished


def depth_encoder(**limits: float) -> Any:
    """LeRobot's 12-bit depth without loss. `limits`: depth_min and depth_max, if not LeRobot's."""
    from lerobot.configs.video import DepthEncoderConfig

    return DepthEncoderConfig(extra_options={"x265-params": "lossless=1:log-level=error"}, **limits)


@contextmanager
def quiet_encoders() -> Iterator[None]:
    """Keep libav's and datasets' chatter off the screen: dozens of lines per episode."""
    import av.logging
    import datasets

    av.logging.set_libav_level(av.logging.ERROR)  # libav does not tell its level, so it cannot be put back
    were_hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_hidden:
            datasets.enable_progress_bars()
