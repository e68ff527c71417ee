"""A training step, part by part: waiting for the loader, preparing, encoding, the network, the optimiser."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from copy import copy
from itertools import pairwise
from typing import Any

import torch
from tqdm import tqdm

from ..configuration_xwam import XWAMConfig
from ..modeling_xwam import XWAMPolicy
from .clock import wait_for
from .loading import loader_of, metadata_of, open_dataset, seconds_of_a_sample, workers_needed

PARTS = ("waiting for data", "preprocess", "encode", "forward", "backward", "optimiser")


def endless(loader: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


def measure_way(
    config: XWAMConfig,
    place: str,
    latents: str | None,
    *,
    batch: int,
    workers: int,
    steps: int,
    video_backend: str,
) -> tuple[XWAMPolicy, dict[str, Any]]:
    """Train on a dataset's frames or, with `latents`, on what cache-latents made of them."""
    from lerobot.policies.factory import make_policy, make_pre_post_processors

    config = copy(config)
    config.latent_cache = latents
    meta = metadata_of(place)
    policy = make_policy(config, ds_meta=meta)
    device = policy.net.view_embedding.weight.device
    pre, _ = make_pre_post_processors(policy.config, dataset_stats=meta.stats)
    dataset = open_dataset(meta, policy.config, video_backend)
    training = measure_training(policy, pre, loader_of(dataset, batch, workers, device), steps, workers)
    training["sample_s"] = seconds_of_a_sample(dataset)
    busy = training["step"] - training["seconds"]["waiting for data"]
    training["workers_needed"] = workers_needed(training["sample_s"], batch, busy)
    training["video_backend"] = video_backend
    return policy, training


def measure_training(
    policy: XWAMPolicy, pre: Any, loader: Iterable[dict[str, Any]], steps: int, workers: int, warm_up: int = 2
) -> dict[str, Any]:
    """Medians over `steps`. The optimiser is the policy's own; nothing of this is kept."""
    policy.train()
    device, batches = policy.net.view_embedding.weight.device, endless(loader)
    optimizer = policy.config.get_optimizer_preset().build(policy.get_optim_params())
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    samples = 0
    encoding = _Timed(policy, device)
    for step in tqdm(range(steps + warm_up), desc="training steps", leave=False):
        marks = [time.perf_counter()]

        def mark(marks: list[float] = marks) -> None:
            wait_for(device)
            marks.append(time.perf_counter())

        raw = next(batches)
        mark()
        batch = pre(raw)
        mark()
        encoding.spent = 0.0
        loss, _ = policy.forward(batch)
        mark()
        loss.backward()
        mark()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), policy.config.optimizer_grad_clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        mark()
        if step < warm_up:
            continue
        took = [after - before for before, after in pairwise(marks)]
        took[2:3] = [encoding.spent, took[2] - encoding.spent]
        samples = len(raw["task"])
        for name, each in zip(PARTS, took, strict=True):
            found[name].append(each)
    seconds = {name: statistics.median(each) for name, each in found.items()}
    total = sum(seconds.values())
    return {
        "seconds": seconds,
        "step": total,
        "batch": samples,
        "workers": workers,
        "samples_per_s": samples / total,
        "loader_share": seconds["waiting for data"] / total,
    }


class _Timed:
    """Seconds in the frozen encoders (or the cache of what they made), which the forward calls first."""

    def __init__(self, policy: XWAMPolicy, device: torch.device) -> None:
        self.spent, right, text = 0.0, policy._encode_clip, policy._encode_text

        def timed(call: Any) -> Any:
            def wrapped(*args: Any) -> Any:
                wait_for(device)
                start = time.perf_counter()
                try:
                    return call(*args)
                finally:
                    wait_for(device)
                    self.spent += time.perf_counter() - start

            return wrapped

        policy._encode_clip = timed(right)  # type: ignore[method-assign]
        policy._encode_text = timed(text)  # type: ignore[method-assign]
