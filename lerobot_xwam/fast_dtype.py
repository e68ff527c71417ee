"""Which numbers a machine multiplies fast: bfloat16 where its hardware has it, float32 everywhere."""

from __future__ import annotations

import logging
from functools import cache
from typing import Literal

import torch

logger = logging.getLogger(__name__)


def fast_dtype(device: str | None) -> Literal["bfloat16", "float32"]:
    """What dtype="auto" means there."""
    return "bfloat16" if has_bfloat16(device) else "float32"


def has_bfloat16(device: str | None) -> bool:
    """In hardware. Torch computes it everywhere, but emulated it takes ten times as long as float32."""
    kind = torch.device(device or "cpu").type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # {}: an older torch
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False  # unknown: float32 is right everywhere


@cache
def warn_of_emulation(device: str) -> None:
    """Once, to whoever asked for bfloat16 on a processor without it."""
    if torch.device(device).type == "cpu" and not has_bfloat16(device):
        logger.warning(
            "dtype=bfloat16: this processor has none and emulates it, about ten times slower than float32. "
            "Use --policy.dtype=float32, which needs more memory, or auto."
        )
