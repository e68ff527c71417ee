"""Clips of a LeRobotDataset with depth, e.g. one of `lerobot-xwam collect`."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from lerobot_xwam.codecs.depth import MM_PER_M, DepthCodec
from making_codecs.clips import Clips

STRIDE = 4  # control steps between two frames of a clip


def dataset_clips(
    root: Path, codec: DepthCodec, *, frames: int, every: int, episodes: tuple[float, float]
) -> Clips:
    """Clips that start at every `every`-th frame of a share of the episodes, e.g. (0, 0.9)."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset(f"local/{root.name}", root=root, video_backend="pyav")
    rgb_keys = sorted(key for key in data.meta.camera_keys if not key.endswith("_depth"))
    bounds = list(
        zip(data.meta.episodes["dataset_from_index"], data.meta.episodes["dataset_to_index"], strict=True)
    )
    low, high = (round(share * len(bounds)) for share in episodes)
    rgb, depth = [], []
    for start, end in tqdm(bounds[low:high], desc=f"reading {root.name}", unit="episode"):
        shown = [data[i] for i in range(start, end, 2)]  # clips need every second frame at most
        step = STRIDE // 2
        for key in rgb_keys:
            pictures = torch.stack([(frame[key] * 255).round().byte() for frame in shown])  # T 3 H W
            metres = torch.stack([frame[f"{key}_depth"][0].float() / MM_PER_M for frame in shown])  # T H W
            for first in range(0, len(shown) - step * (frames - 1), max(1, every // 2)):
                where = slice(first, first + step * (frames - 1) + 1, step)
                rgb.append(pictures[where].permute(0, 2, 3, 1))
                depth.append(metres[where].half())
    return Clips(torch.stack(rgb), torch.stack(depth), codec, relative_depth=True)
