"""Inside one pass: tokens, modulation, rotary table, text embedding, and what every block hands on."""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from lerobot_xwam.model.rope import rope_table
from lerobot_xwam.model.sizes import TokenLayout
from lerobot_xwam.model.transformer import token_times
from lerobot_xwam.weights.encoder_keys import take

from .folder import FORWARD, TRACE, GoldenFolder
from .forward import read_latents, read_times
from .measure import Case, Measure, difference


def cases(folder: GoldenFolder) -> list[Case]:
    """One case per block (with its keys and values), one per ingredient."""
    groups: dict[str, list[str]] = {}
    for key in folder.keys(TRACE):
        groups.setdefault("rope" if key.startswith("freqs_") else key.split(".")[0], []).append(key)
    order = sorted(groups, key=_place)
    return [Case(f"forward_trace.{name}", partial(compare, folder, groups[name])) for name in order]


def compare(folder: GoldenFolder, keys: list[str]) -> list[Measure]:
    reference, ours = folder.tensors(TRACE), record(folder)
    return [difference(key, ours.get(key), reference[key]) for key in keys]


@lru_cache(maxsize=1)
def record(folder: GoldenFolder) -> dict[str, Tensor]:
    """The recorded inputs once more, with a hook on every block. -> our tensors under the recorded names"""
    network = folder.network
    inputs = take(folder.tensors(FORWARD), "in.")
    x, times = read_latents(inputs), read_times(inputs, "2d")
    layout = TokenLayout.of(x.video, x.actions, x.states, network.sizes)
    seen: dict[str, Tensor] = {}

    def remember(name: str, _module: nn.Module, _args: Any, result: Any) -> None:
        tokens, (keys, values) = result  # B L dim; B heads L head_dim twice
        seen[name] = tokens
        seen[f"{name}.cache_k"], seen[f"{name}.cache_v"] = keys.transpose(1, 2), values.transpose(1, 2)

    hooks = [
        block.register_forward_hook(partial(remember, f"{name}{i}"))
        for name, stack in (("block", network.blocks), ("extra", network.depth_blocks))
        for i, block in enumerate(stack)
    ]
    try:
        with torch.no_grad():
            network(x, times, network.read_text(inputs["context"]), depth=bool(network.depth_blocks))
            _, modulation = network.embed_times(times.levels)  # B D 6 dim
            index = token_times(times, layout)  # 1|B L
            seen["e0"] = torch.stack(
                [row[i] for row, i in zip(modulation, index.expand(len(modulation), -1), strict=True)]
            )
            seen["seq_in"] = network.embed(x)
            seen["context_emb"] = network.text_in(inputs["context"])
            cos, sin = rope_table(layout, network.sizes.head_dim, x.video.device)
            seen["freqs_cos"], seen["freqs_sin"] = cos[:, ::2], sin[:, 1::2]  # ours: c c and -s s per pair
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _place(name: str) -> tuple[int, int]:
    """Ingredients first, then trunk blocks, then depth blocks, in order."""
    match = re.fullmatch(r"(block|extra)(\d+)", name)
    return (1 if match[1] == "block" else 2, int(match[2])) if match else (0, 0)
