"""Wan2.2 -> X-WAM weights to start from: Wan's own tensors renamed, X-WAM's parts new.

Two layouts are known by their config.json: diffusers' (WanTransformer3DModel, a folder `transformer`) and the
original (WanModel). Depth blocks start as copies of the trunk's last blocks; everything else that Wan does
not bring starts small.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..configuration_xwam import XWAMConfig
from ..model.sizes import TransformerSizes
from .account import Account
from .conversion import (
    Conversion,
    refuse_misfits,
    refuse_strange_dtypes,
    refuse_unexplained,
    wanted_shapes,
)
from .keys import from_diffusers, from_official, to_diffusers, to_official
from .network_sizes import config_fields, trunk_sizes
from .outgoing import carried, fresh
from .safetensors_index import read_folder
from .stored import Stored
from .wan_config import WanConfig, read_wan_config


@dataclass(frozen=True)
class Additions:
    """How large the parts are that X-WAM adds to Wan."""

    views: int = 3
    depth_blocks: int = 10  # 0: no depth branch
    state_width: int = 16
    action_width: int = 14


@dataclass(frozen=True)
class _Layout:
    """One way of naming Wan's sizes and weights."""

    class_name: str
    rename: Callable[[str], str]  # theirs -> ours
    name: Callable[[str], str | None]  # ours -> theirs
    sizes: dict[str, str]  # ours -> theirs


_DIFFUSERS = _Layout(
    "WanTransformer3DModel",
    from_diffusers,
    to_diffusers,
    {"ffn_dim": "ffn_dim", "blocks": "num_layers", "channels": "in_channels", "time_dim": "freq_dim"},
)
_ORIGINAL = _Layout(
    "WanModel",
    from_official,
    to_official,
    {
        "dim": "dim",
        "ffn_dim": "ffn_dim",
        "blocks": "num_layers",
        "channels": "in_dim",
        "time_dim": "freq_dim",
    },
)


@dataclass(frozen=True)
class WanWeights:
    folder: Path
    layout: str
    sizes: dict[str, int]
    tensors: dict[str, Stored]  # by our names
    theirs: dict[str, str]  # our name -> the source's
    spatial_stride: int  # of the VAE that made its latents
    text_tokens: int | None  # None: not said


def read_wan(source: Path) -> WanWeights:
    """The table of a Wan model's weights, under our names, checked for completeness."""
    folder, described = _find(source)
    config = described.values
    layout = {each.class_name: each for each in (_DIFFUSERS, _ORIGINAL)}.get(str(config.get("_class_name")))
    if layout is None:
        raise ValueError(
            f"{described.path}: describes a {config.get('_class_name')!r}; a Wan video transformer has "
            f"_class_name {_DIFFUSERS.class_name!r} (diffusers) or {_ORIGINAL.class_name!r} (original)"
        )
    held = read_folder(folder, "diffusion_pytorch_model")
    refuse_strange_dtypes(folder, held)
    tensors, theirs, strangers = {}, {}, []
    for name, stored in held.items():
        try:
            ours = layout.rename(name)
            if to_diffusers(ours) is None:  # X-WAM's own: an original file that holds it is no plain Wan
                raise KeyError(name)
        except KeyError:
            strangers.append(name)
            continue
        tensors[ours], theirs[ours] = stored, name
    refuse_unexplained(folder, strangers)
    sizes = trunk_sizes(folder, tensors, described.heads)
    _compare_sizes(folder, layout, sizes, config)
    wan_only = wanted_shapes(TransformerSizes(**sizes, depth_blocks=0))
    refuse_misfits(folder, {n: s for n, s in wan_only.items() if to_diffusers(n)}, tensors, layout.name)
    return WanWeights(
        folder,
        layout.class_name,
        sizes,
        tensors,
        theirs,
        _spatial_stride(folder, sizes),
        config.get("text_len"),
    )


def plan_from_wan(
    source: Path,
    additions: Additions,
    *,
    seed: int,
    dtype: torch.dtype | None = None,
    codecs: str | None = None,
) -> Conversion:
    """`dtype` None keeps each tensor's own. The result is a folder for --policy.base_weights."""
    wan = read_wan(source)
    sizes = TransformerSizes(
        **wan.sizes,
        views=additions.views,
        depth_blocks=additions.depth_blocks,
        state_dim=additions.state_width,
        action_dim=additions.action_width,
    )
    account = Account(f"{wan.folder} ({wan.layout}) -> X-WAM weights to start from, seed {seed}")
    first_copied = sizes.blocks - sizes.depth_blocks
    new_dtype = dtype or wan.tensors["video_head.out.weight"].dtype
    outgoing = []
    for name, shape in wanted_shapes(sizes).items():
        if name in wan.tensors:
            tensor = carried(f"net.{name}", wan.tensors[name], dtype)
            account.keep(tensor, wan.theirs[name], "a weight of Wan")
        elif name.startswith("depth_blocks."):
            _, number, rest = name.split(".", maxsplit=2)
            origin = f"blocks.{first_copied + int(number)}.{rest}"
            tensor = carried(f"net.{name}", wan.tensors[origin], dtype)
            account.keep(
                tensor, wan.theirs[origin], "depth blocks start as copies of the last blocks", "copied"
            )
        else:
            tensor = fresh(f"net.{name}", new_dtype, shape, seed)
            account.new(tensor, "X-WAM's own: N(0, 0.02), biases 0")
        outgoing.append(tensor)
    account.notes.append(
        "These are weights to start from, without a robot: train with --policy.type=xwam "
        "--policy.base_weights=THIS_FOLDER"
    )
    said: dict[str, Any] = {
        "vae_stride": wan.spatial_stride,
        "text_tokens": wan.text_tokens,
        "codecs": codecs,
    }
    fields = {name: value for name, value in said.items() if value}
    return Conversion(
        account, safetensors={"model.safetensors": outgoing}, config=base_config(sizes, **fields)
    )


def base_config(sizes: TransformerSizes, **fields: Any) -> XWAMConfig:
    """The configuration of weights that no robot has yet: sizes, and neither cameras nor statistics."""
    return XWAMConfig(
        device="cpu",
        depth="interleaved" if sizes.depth_blocks else "none",
        **config_fields(sizes),
        **fields,
    )


def _find(source: Path) -> tuple[Path, WanConfig]:
    """The folder with the transformer's weights, and its config.json."""
    if not source.is_dir():
        raise FileNotFoundError(
            f"{source}: no such folder. Give a local copy of Wan, e.g. after\n"
            "  hf download Wan-AI/Wan2.2-TI2V-5B-Diffusers --local-dir wan2.2"
        )
    folder = source / "transformer" if (source / "transformer").is_dir() else source
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: not found. Give the folder of a diffusers repo (with transformer/), or of the original "
            "Wan release (config.json beside diffusion_pytorch_model*.safetensors)"
        )
    return folder, read_wan_config(path)


def _compare_sizes(folder: Path, layout: _Layout, sizes: dict[str, int], config: dict[str, Any]) -> None:
    for ours, theirs in layout.sizes.items():
        if theirs in config and config[theirs] != sizes[ours]:
            raise ValueError(
                f"{folder}: config.json says {theirs} {config[theirs]}, the weights have {sizes[ours]}; "
                "they are not of the same model"
            )


def _spatial_stride(folder: Path, sizes: dict[str, int]) -> int:
    """From the VAE beside a diffusers transformer, else by its latents: Wan2.2's have 48 channels."""
    beside = folder.parent / "vae" / "config.json"
    if beside.is_file():
        stride = json.loads(beside.read_text(encoding="utf-8")).get("scale_factor_spatial")
        if stride:
            return int(stride)
    return 16 if sizes["channels"] == 48 else 8
