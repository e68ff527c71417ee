"""How large a network is, told from the shapes of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..model.sizes import TransformerSizes
from .stored import Stored

WAN_HEAD = 128  # width of an attention head in every Wan model
NEEDED = (
    "patch_in.weight",
    "text_in.0.weight",
    "time_in.0.weight",
    "video_head.out.weight",
    "blocks.0.ffn.0.weight",
)


def trunk_sizes(where: Any, found: Mapping[str, Stored], heads: int) -> dict[str, int]:
    """Arguments of TransformerSizes that Wan's own weights decide. found: our name -> tensor"""
    if missing := [name for name in NEEDED if name not in found]:
        raise ValueError(
            f"{where}: holds no video transformer of Wan's kind (no weight that would be our {missing[0]})"
        )
    if len(found["patch_in.weight"].shape) != 5:
        raise ValueError(
            f"{where}: the patch embedding has {len(found['patch_in.weight'].shape)} axes, not 5"
        )
    dim, channels, _, patch, _ = found["patch_in.weight"].shape
    return {
        "dim": dim,
        "ffn_dim": found["blocks.0.ffn.0.weight"].shape[0],
        "heads": heads,
        "blocks": count(found, "blocks"),
        "channels": channels,
        "text_dim": found["text_in.0.weight"].shape[-1],
        "time_dim": found["time_in.0.weight"].shape[-1],
        "patch": patch,
    }


def count(names: Iterable[str], stack: str) -> int:
    """How many blocks a stack has; gaps in the numbering show as missing weights later."""
    numbers = [int(name.split(".")[1]) for name in names if name.startswith(f"{stack}.")]
    return max(numbers, default=-1) + 1


def config_fields(sizes: TransformerSizes) -> dict[str, Any]:
    """Sizes as XWAMConfig calls them. Depth is set there separately: a size of 0 means 'as in the preset'."""
    return {
        "dim": sizes.dim,
        "ffn_dim": sizes.ffn_dim,
        "heads": sizes.heads,
        "blocks": sizes.blocks,
        "time_dim": sizes.time_dim,
        "max_views": sizes.views,
        "latent_channels": sizes.channels,
        "text_dim": sizes.text_dim,
        "state_width": sizes.state_dim,
        "action_width": sizes.action_dim,
        **({"depth_blocks": sizes.depth_blocks} if sizes.depth_blocks else {}),
    }
