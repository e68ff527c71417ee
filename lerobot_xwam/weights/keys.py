"""One table of weight names; the inverse is derived from it, so the two cannot drift apart.

ours                          official X-WAM release             diffusers' WanTransformer3DModel
Wan's norm2 and norm3 change places in diffusers' names: official norm3 (before the text) is diffusers' norm2.
"""

from __future__ import annotations

import re

_BLOCK = [
    ("modulation", "modulation", "scale_shift_table"),
    ("self_attn.q", "self_attn.q", "attn1.to_q"),
    ("self_attn.k", "self_attn.k", "attn1.to_k"),
    ("self_attn.v", "self_attn.v", "attn1.to_v"),
    ("self_attn.out", "self_attn.o", "attn1.to_out.0"),
    ("self_attn.q_norm", "self_attn.norm_q", "attn1.norm_q"),
    ("self_attn.k_norm", "self_attn.norm_k", "attn1.norm_k"),
    ("text_norm", "norm3", "norm2"),
    ("text_attn.q", "cross_attn.q", "attn2.to_q"),
    ("text_attn.k", "cross_attn.k", "attn2.to_k"),
    ("text_attn.v", "cross_attn.v", "attn2.to_v"),
    ("text_attn.out", "cross_attn.o", "attn2.to_out.0"),
    ("text_attn.q_norm", "cross_attn.norm_q", "attn2.norm_q"),
    ("text_attn.k_norm", "cross_attn.norm_k", "attn2.norm_k"),
    ("ffn.0", "ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.2", "ffn.net.2"),
]

_OUTSIDE = [
    ("patch_in", "patch_embedding", "patch_embedding"),
    ("text_in.0", "text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_in.2", "text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_in.0", "time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_in.2", "time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "time_projection.1", "condition_embedder.time_proj"),
    ("video_head.modulation", "head.modulation", "scale_shift_table"),
    ("video_head.out", "head.head", "proj_out"),
    ("view_embedding", "view_embedding", None),
    ("depth_head.modulation", "extra_heads.0.modulation", None),
    ("depth_head.out", "extra_heads.0.head", None),
    *(
        (f"{ours}.{layer}", f"{theirs}.{layer}", None)
        for ours, theirs in [
            ("action_in", "action_encoder"),
            ("action_out", "action_decoder"),
            ("state_in", "proprio_encoder"),
            ("state_out", "proprio_decoder"),
        ]
        for layer in (0, 2)
    ),
]

_TO_OFFICIAL = {ours: official for ours, official, _ in _OUTSIDE}
_TO_DIFFUSERS = {ours: diffusers for ours, _, diffusers in _OUTSIDE if diffusers}
_BLOCK_TO_OFFICIAL = {ours: official for ours, official, _ in _BLOCK}
_BLOCK_TO_DIFFUSERS = {ours: diffusers for ours, _, diffusers in _BLOCK}

_LEAF = re.compile(r"(.*?)(\.weight|\.bias)?$", re.DOTALL)
_OURS = re.compile(r"(blocks|depth_blocks)\.(\d+)\.(.+)")
_OFFICIAL = re.compile(r"(blocks|extra_blocks\.0)\.(\d+)\.(.+)")
_OFFICIAL_STACK = {"blocks": "blocks", "depth_blocks": "extra_blocks.0"}


def to_official(key: str) -> str:
    """Our name -> the official release's (without its `model.` prefix)."""
    return _rename(key, _OURS, _OFFICIAL_STACK, _BLOCK_TO_OFFICIAL, _TO_OFFICIAL)


def from_official(key: str) -> str:
    """The official release's name (without `model.`) -> ours."""
    return _rename(
        key, _OFFICIAL, _inverse(_OFFICIAL_STACK), _inverse(_BLOCK_TO_OFFICIAL), _inverse(_TO_OFFICIAL)
    )


def to_diffusers(key: str) -> str | None:
    """Our name -> diffusers' for what Wan brings; None for what X-WAM adds."""
    if key.startswith("depth_blocks."):
        return None
    match = _OURS.fullmatch(key)
    stem, suffix = _split(match[3] if match else key)
    table = _BLOCK_TO_DIFFUSERS if match else _TO_DIFFUSERS
    if stem not in table:
        if stem in _TO_OFFICIAL:
            return None
        raise KeyError(f"{key!r} is no weight of X-WAM")
    return (f"blocks.{match[2]}." if match else "") + table[stem] + suffix


def from_diffusers(key: str) -> str:
    """diffusers' WanTransformer3DModel name -> ours."""
    return _rename(key, _OURS, {"blocks": "blocks"}, _inverse(_BLOCK_TO_DIFFUSERS), _inverse(_TO_DIFFUSERS))


def _rename(
    key: str,
    pattern: re.Pattern[str],
    stacks: dict[str, str],
    in_block: dict[str, str],
    outside: dict[str, str],
) -> str:
    match = pattern.fullmatch(key)
    stem, suffix = _split(match[3] if match else key)
    table = in_block if match else outside
    if stem not in table or (match and match[1] not in stacks):
        raise KeyError(f"{key!r} is no weight of X-WAM")
    return (f"{stacks[match[1]]}.{match[2]}." if match else "") + table[stem] + suffix


def _split(key: str) -> tuple[str, str]:
    match = _LEAF.fullmatch(key)
    assert match is not None
    return match[1], match[2] or ""


def _inverse(table: dict[str, str]) -> dict[str, str]:
    return {value: key for key, value in table.items()}
