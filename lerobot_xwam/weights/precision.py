"""In which precision weights are trained: float32, however they are stored.

A bfloat16 weight has 8 significant bits, so steps below 1/256 of it, which is nearly all of fine-tuning,
would be rounded away. The large products are made in the policy's `dtype` all the same (autocast).
"""

from __future__ import annotations

import torch

from ..model.transformer import XWAMTransformer


def make_trainable(net: XWAMTransformer, weights_dtype: str) -> None:
    """Turn what an optimiser is about to move into float32, in place and where it lies.

    Under an adapter the base is frozen and keeps its dtype. Otherwise all weights change, also frozen ones:
    FSDP shards a module's weights together and wants one dtype.
    """
    adapted = not all(parameter.requires_grad for parameter in net.blocks.parameters())
    if weights_dtype == "bfloat16" and not adapted:
        raise ValueError(
            "weights_dtype='bfloat16' keeps weights for inference or under an adapter (--peft.method_type="
            "LORA); training all weights in it would round most steps away. Leave it away: trained weights "
            "are float32, products are made in --policy.dtype=bfloat16 all the same"
        )
    for parameter in net.parameters():
        if parameter.requires_grad or not adapted:
            parameter.data = parameter.data.to(torch.float32)


def dtype_named(name: str) -> torch.dtype:
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
