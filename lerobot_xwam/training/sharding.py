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
