"""What `plan` estimates is what the allocator sees; what it recommends can be run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from lerobot.configs.default import PeftConfig
from torch.profiler import ProfilerActivity, profile
from toys import packed_batch, small_config

from lerobot_xwam import XWAMConfig
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.planning.network import Load, acting_memory, training_memory

BATCH, CAMERAS = 4, ("front", "left")


def config(**settings: Any) -> XWAMConfig:
    """Large enough for activations to stand out, small enough for a second."""
    sizes = {"dim": 128, "ffn_dim": 512, "heads": 4, "blocks": 4, "depth_blocks": 2, "height": 64, "width": 96}
    return small_config(CAMERAS, depth_of=CAMERAS, max_views=2, **{**sizes, **settings})


@dataclass
class Allocated:
    peak: int = 0


@contextmanager
def allocations() -> Iterator[Allocated]:
    """Bytes of PyTorch's CPU allocator above those at the start: its own records, none of our counting."""
    seen = Allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        yield seen
    assert profiler.profiler is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        seen.peak = max(seen.peak, now)


def measured_training(policy: Any, batch: dict[str, Any]) -> tuple[int, int]:
    """-> (peak of forward and backward, peak of the step), weights and moments included."""
    parameters = policy.get_optim_params()
    optimizer = torch.optim.AdamW(parameters, foreach=True)
    policy.train()
    weights = sum(p.nbytes for p in policy.parameters())

    def forward_backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        policy(batch)[0].backward()

    forward_backward()
    optimizer.step()
    moments = sum(t.nbytes for state in optimizer.state.values() for t in state.values())
    optimizer.zero_grad(set_to_none=True)
    with allocations() as passing:
        forward_backward()
    gradients = sum(p.grad.nbytes for p in parameters if p.grad is not None)
    with allocations() as stepping:
        optimizer.step()
    return weights + moments + passing.peak, weights + moments + gradients + stepping.peak


@pytest.mark.parametrize(
    ("dtype", "every", "rank"),
    [
        ("float32", 0, 0),
        ("float32", 1, 0),
        ("bfloat16", 0, 0),
        ("bfloat16", 1, 0),
        ("bfloat16", 2, 8),
        ("float32", 0, 8),
        ("bfloat16", 1, 8),
    ],
)
def test_training_needs_what_was_estimated(dtype: str, every: int, rank: int) -> None:
    half = {"weights_dtype": "bfloat16"} if rank and dtype == "bfloat16" else {}
    cfg = config(dtype=dtype, checkpoint_every=every, **half)
    policy: Any = XWAMPolicy(cfg)
    if half:
        policy.bfloat16()
    if rank:
        policy.config.pretrained_path = "somewhere"
        policy = policy.wrap_with_peft(peft_cli_overrides=vars(PeftConfig(r=rank)))
    passing, stepping = measured_training(policy, packed_batch(cfg, BATCH))
    said = training_memory(cfg, Load(BATCH, len(CAMERAS)), adapter_rank=rank)
    print(dtype, every, rank, passing, said.passing / passing, stepping, said.stepping / stepping)
    assert said.weights == sum(p.nbytes for p in policy.parameters())
    assert said.trained == sum(p.numel() for p in policy.parameters() if p.requires_grad)
    assert said.passing == pytest.approx(passing, rel=0.1)
    assert said.stepping == pytest.approx(stepping, rel=0.1)
