"""The data loader beside the training step: what a sample costs, and how many processes keep up with it.

LeRobot decodes the cameras of a sample side by side, in a thread each, and opens each video once per sample
(PyAV) or once for all (torchcodec). More than that takes more processes: its num_workers.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..configuration_xwam import XWAMConfig

SAMPLES = 8  # enough for a median
PREFETCH = 4  # batches per process, as lerobot-train has it
NOTICEABLE = 0.1  # of a step


def metadata_of(place: str) -> Any:
    """Of a dataset folder or a Hub id."""
    from lerobot.datasets import LeRobotDatasetMetadata

    root = Path(place).expanduser()
    return LeRobotDatasetMetadata(
        **({"repo_id": "local/dataset", "root": root} if root.is_dir() else {"repo_id": place})
    )


def open_dataset(meta: Any, config: XWAMConfig, video_backend: str) -> Any:
    """As lerobot-train opens it."""
    from lerobot.datasets import LeRobotDataset
    from lerobot.datasets.factory import resolve_delta_timestamps

    return LeRobotDataset(
        meta.repo_id,
        root=meta.root,
        delta_timestamps=resolve_delta_timestamps(config, meta),
        video_backend=video_backend,
        return_uint8=True,
        depth_output_unit=config.depth_unit,
    )


def loader_of(dataset: Any, batch: int, workers: int, device: torch.device) -> Iterable[dict[str, Any]]:
    if len(dataset) < batch:
        raise ValueError(f"--batch {batch}: the dataset has {len(dataset)} samples")
    ahead: dict[str, Any] = {"prefetch_factor": PREFETCH, "persistent_workers": True} if workers else {}
    return DataLoader(
        dataset,
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
        **ahead,
    )


def seconds_of_a_sample(dataset: Any) -> float:
    """In this process, which must have no data workers any more: LeRobot's decoders do not survive both."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(dataset), generator=generator)[: SAMPLES + 1].tolist()
    found = []
    for index in tqdm(chosen, desc="loading samples", leave=False):
        start = time.perf_counter()
        dataset[index]
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:] or found)  # the first opens tables


def workers_needed(sample_s: float, batch: int, busy_s: float) -> int:
    """Processes that load a batch while the step before it computes for `busy_s`."""
    return max(1, math.ceil(sample_s * batch / busy_s))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loading_advice(training: dict[str, Any], from_latents: bool) -> list[str]:
    """What to do about the loader, if anything."""
    share, needed = training["loader_share"], training["workers_needed"]
    sample = f"a sample takes {1e3 * training['sample_s']:.0f} ms in one process"
    if share <= NOTICEABLE:
        return [f"the loader keeps up ({sample}): --num_workers={training['workers']} is enough"]
    rest = [] if from_latents else ["lerobot-xwam cache-latents decodes once and for all, and spares the VAE"]
    if needed > cores():
        enough = f"{needed} processes would keep up, but there are {cores()} core(s)"
    else:
        enough = f"--num_workers={needed} keeps up"
    return [f"the network waits for data: {sample}, {enough}", *rest]
