"""One process of a small sharded training; tests/test_distributed.py starts two of them.

    torchrun --nproc-per-node=2 tests/sharded_training.py FOLDER

Writes the losses of the same training under DDP, FSDP1 and FSDP2, and the weights that FSDP2 gathered.
(On a CPU, gathering those of FSDP1 crashes inside of torch 2.11.)
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy
from torch.nn.parallel import DistributedDataParallel
from toys import packed_batch, small_config

from lerobot_xwam.modeling_xwam import XWAMPolicy

STEPS = 3


def units(policy: XWAMPolicy) -> set[type]:
    """What the policy declares as its sharding units."""
    return {type(m) for m in policy.modules() if type(m).__name__ in XWAMPolicy._fsdp_wrap_modules}


def shard(policy: XWAMPolicy, how: str) -> torch.nn.Module:
    if how == "ddp":
        return DistributedDataParallel(policy, find_unused_parameters=True)
    if how == "fsdp1":
        wrap = partial(transformer_auto_wrap_policy, transformer_layer_cls=units(policy))
        return FullyShardedDataParallel(
            policy, auto_wrap_policy=wrap, use_orig_params=True, device_id=torch.device("cpu")
        )
    for module in policy.modules():
        if type(module) in units(policy):
            fully_shard(module)
    return fully_shard(policy)


def train(how: str, folder: Path) -> list[float]:
    rank = dist.get_rank()
    torch.manual_seed(0)
    np.random.seed(0)
    config = small_config(cameras=["a", "b"], depth_of=["a", "b"], checkpoint_every=2)
    policy = XWAMPolicy(config)
    model = shard(policy, how).train()
    whole = packed_batch(config, batch=4)
    mine = slice(2 * rank, 2 * rank + 2)
    cut = {key for key, value in whole.items() if torch.is_tensor(value) or key == "task"}
    batch = {key: value[mine] if key in cut else value for key, value in whole.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS):
        loss, _ = model(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(mean.item() / dist.get_world_size())
    if how == "fsdp2":
        weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
        if rank == 0:
            copies = {name: tensor.clone() for name, tensor in weights.items()}  # they were views
            policy.save_pretrained(folder / "gathered", state_dict=copies)
    elif how == "ddp" and rank == 0:
        policy.save_pretrained(folder / "plain")
    return losses


def main() -> None:
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    results = {how: train(how, folder) for how in ("ddp", "fsdp1", "fsdp2")}
    if dist.get_rank() == 0:
        (folder / "losses.json").write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
