"""Two processes that train under FSDP as lerobot-train does: with its own saving, gathering and resuming.

Accelerate refuses its FSDP plugin on machines without an accelerator, so torch's FSDP is set up as
configs/accelerate_8gpu_fsdp.yaml would do it; everything else is LeRobot's.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import forked
import numpy as np
import torch
import torch.distributed as dist
from lerobot.common.train_utils import (
    gather_fsdp_state_dicts,
    load_fsdp_optimizer_state,
    load_training_state,
    save_checkpoint,
)
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from sharded_training import shard
from torch.distributed import fsdp
from torch.distributed.fsdp import _optim_utils
from toys import packed_batch, small_config

from lerobot_xwam import XWAMConfig
from lerobot_xwam.modeling_xwam import XWAMPolicy

PROCESSES = 2


@dataclass(frozen=True)
class Run:
    folder: Path
    steps: int
    save_after: int
    resume: bool = False
    killed_in: int | None = None  # step
    micro_batch: int = 0
    kind: str = "fsdp1"  # or "ddp", which saves nothing here

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def losses(self) -> list[float]:
        return json.loads((self.folder / "losses.json").read_text())

    def shards(self) -> list[dict[str, int]]:
        """Of every process: bytes of its weights, gradients and moments."""
        return [json.loads((self.folder / f"shards{rank}.json").read_text()) for rank in range(PROCESSES)]


def run_config(how: Run) -> XWAMConfig:
    config = small_config(["a", "b"], depth_of=["a"], checkpoint_every=1, micro_batch=how.micro_batch)
    config.optimizer_lr = 1e-2
    return config


def run(how: Run) -> list[int]:
    """-> exit codes"""
    how.folder.mkdir(exist_ok=True)
    meeting = Path(tempfile.mkdtemp(dir=how.folder)) / "meeting"
    logs = [how.folder / f"log{rank}" for rank in range(PROCESSES)]
    children = [forked.start(partial(_train, how, rank, meeting), log) for rank, log in enumerate(logs)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if how.killed_in is None:
        assert codes == [0] * PROCESSES, [log.read_text()[-3000:] for log in logs]
    return codes


@contextmanager
def gathering_on_a_cpu() -> Iterator[None]:
    """torch 2.11 gathers every tensor into memory that it uses again, and counts on `.cpu()` for a copy.

    There is none on a CPU: weights are freed too early (it crashes), moments overwritten by the next ones.
    """

    def copied(info: Any, states: dict[str, dict[str, Any]], name: str, *rest: Any) -> None:
        unflatten(info, states, name, *rest)
        for state in states.values():
            if name in state:
                state[name] = state[name].clone()

    unflatten = _optim_utils._unflatten_orig_param_states
    whole = fsdp.FullStateDictConfig
    with (
        patch.object(_optim_utils, "_unflatten_orig_param_states", copied),
        patch.object(fsdp, "FullStateDictConfig", lambda rank0_only, **_: whole(rank0_only=rank0_only)),
    ):
        yield


def _train(how: Run, rank: int, meeting: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES)
    torch.manual_seed(0)
    np.random.seed(0)
    config = run_config(how)
    settings = TrainPipelineConfig(dataset=DatasetConfig(repo_id="local/toy"), policy=config)
    stored = how.checkpoint / "pretrained_model"
    policy = XWAMPolicy.from_pretrained(stored, config=config) if how.resume else XWAMPolicy(config)
    model = shard(policy, how.kind).train()
    optimizer = config.get_optimizer_preset().build(policy.get_optim_params())
    scheduler = config.get_scheduler_preset().build(optimizer, how.steps)
    begin, losses = 0, []
    with gathering_on_a_cpu():
        if how.resume:
            begin, _, _ = load_training_state(how.checkpoint, optimizer, scheduler, load_optimizer=False)
            load_fsdp_optimizer_state(model, optimizer, how.checkpoint)
        for step in range(begin, how.steps):
            if step + 1 == how.killed_in:
                os.kill(os.getpid(), signal.SIGKILL)
            loss, _ = model(_batch(config, rank, step))
            loss.backward()
            if how.kind == "fsdp1":
                model.clip_grad_norm_(1.0)
            optimizer.step()
            if step + 1 == how.steps:
                (how.folder / f"shards{rank}.json").write_text(json.dumps(_held(model, optimizer)))
            optimizer.zero_grad()
            scheduler.step()
            mean = loss.detach().clone()
            dist.all_reduce(mean)
            losses.append(mean.item() / PROCESSES)
            if how.kind == "fsdp1" and step + 1 in (how.save_after, how.steps):
                weights, moments = gather_fsdp_state_dicts(model, optimizer)
                weights = {name: weight.clone() for name, weight in weights.items()}  # they were views
                if rank == 0:
                    folder = how.checkpoint if step + 1 == how.save_after else how.folder / "end"
                    save_checkpoint(
                        folder,
                        step + 1,
                        settings,
                        policy,
                        optimizer,
                        scheduler,
                        num_processes=PROCESSES,
                        model_state_dict=weights,
                        optim_state_dict=moments,
                    )
                dist.barrier()
    if rank == 0:
        (how.folder / "losses.json").write_text(json.dumps(losses))
    dist.barrier()
    dist.destroy_process_group()


def _held(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """What this process keeps between two passes, in bytes."""
    parameters = list(model.parameters())
    return {
        "weights": sum(p.nbytes for p in parameters),
        "gradients": sum(p.grad.nbytes for p in parameters if p.grad is not None),
        "moments": sum(t.nbytes for state in optimizer.state.values() for t in state.values()),
    }


def _batch(config: Any, rank: int, step: int) -> dict[str, Any]:
    """This process's share of the step's samples."""
    whole = packed_batch(config, batch=2 * PROCESSES, seed=step)
    mine = slice(2 * rank, 2 * rank + 2)
    cut = {key for key, value in whole.items() if torch.is_tensor(value) or key == "task"}
    return {key: value[mine] if key in cut else value for key, value in whole.items()}
