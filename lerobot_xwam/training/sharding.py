"""Whether FSDP owns the weights: then each process sees only its shards of them."""

from __future__ import annotations

import os

from torch import nn


def is_sharded(module: nn.Module) -> bool:
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    return any(isinstance(part, FullyShardedDataParallel) for part in module.modules()) or any(
        isinstance(parameter, DTensor) for parameter in module.parameters()
    )


def will_be_sharded() -> bool:
    """Said by `accelerate launch`, before the model is there."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("true", "1")


def refuse_sharded_adapters() -> None:
    if will_be_sharded():
        raise ValueError(
            "--peft with FSDP: FSDP shards a block in one precision, and an adapter has two, its own float32 "
            "and that of the base that lies still under it. An adapter needs no shards: several GPUs train "
            "it with DDP (accelerate launch --multi_gpu), all weights are trained with FSDP"
        )
