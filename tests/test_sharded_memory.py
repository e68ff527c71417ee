"""The peak of a step under FSDP on two CPU processes, against the row of `lerobot-xwam plan`."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from unittest.mock import patch

import forked
import pytest
import torch
import torch.distributed as dist
from sharded_training import shard
from test_plan import BATCH, CAMERAS, LOAD, allocations, config
from toys import packed_batch

from lerobot_xwam import XWAMConfig
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.planning.network import sharded_memory
from lerobot_xwam.training.encoding import Encoded

PROCESSES = 2


def sharded_config(every: int) -> XWAMConfig:
    return config(checkpoint_every=every, blocks=4)


def measure(folder: Path, every: int, rank: int) -> None:
    """Write the peak of one whole step, without the encoders."""
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=PROCESSES
    )
    cfg = sharded_config(every)
    policy = XWAMPolicy(cfg)
    latents = torch.randn(BATCH, cfg.latent_channels, cfg.latent_frames, len(CAMERAS), 8, 12)
    model = shard(policy, "fsdp1").train()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), foreach=True)
    batch = packed_batch(cfg, BATCH)

    def step() -> None:
        model(batch)[0].backward()
        optimizer.step()

    with patch.object(XWAMPolicy, "_encoded", lambda *_: Encoded(latents, latents, None)):
        step()
        optimizer.zero_grad(set_to_none=True)
        held = sum(p.nbytes for p in model.parameters())
        held += sum(t.nbytes for state in optimizer.state.values() for t in state.values())
        with allocations() as seen:
            step()
    (folder / f"peak{rank}").write_text(json.dumps(held + seen.peak))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("every", [0, 1])
def test_a_sharded_step_needs_what_was_estimated(every: int, tmp_path: Path) -> None:
    logs = [tmp_path / f"log{rank}" for rank in range(PROCESSES)]
    children = [forked.start(partial(measure, tmp_path, every, rank), log) for rank, log in enumerate(logs)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * PROCESSES, [log.read_text()[-3000:] for log in logs]
    planned = sharded_memory(sharded_config(every), LOAD, PROCESSES)
    for rank in range(PROCESSES):
        measured = json.loads((tmp_path / f"peak{rank}").read_text())
        print(every, rank, planned.peak / measured)
        assert planned.peak == pytest.approx(measured, rel=0.1)
