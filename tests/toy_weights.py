"""Toy checkpoints of every layout that can be converted, made from the recorded weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lerobot_xwam.cli.main import main
from lerobot_xwam.weights.keys import from_official, to_diffusers
from lerobot_xwam.weights.official_layout import PLACE

GOLDEN = Path(__file__).parent / "golden"
RELEASE = GOLDEN / "official_layout_ckpt"
STATES = RELEASE / PLACE
WAN_SIZES = json.loads((RELEASE / "wan_config.json").read_text())


def convert(*arguments: Any) -> int:
    """The command as a user gives it. -> exit code"""
    return main([str(argument) for argument in arguments])


def released(path: Path = STATES) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["module"]


def write_release(folder: Path, module: Mapping[str, Any], **besides: Any) -> Path:
    """An experiment folder with these weights, and the recorded configuration. -> folder"""
    (folder / PLACE).parent.mkdir(parents=True)
    torch.save({"module": dict(module), **besides}, folder / PLACE)
    for name in ("config.yaml", "wan_config.json"):
        (folder / name).write_bytes((RELEASE / name).read_bytes())
    return folder


def wan_weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What the recorded network has of Wan, under Wan's original names."""
    official = load_file(GOLDEN / "xwam_model.safetensors")
    return {
        name: t.to(dtype) for name, t in official.items() if to_diffusers(from_official(name)) is not None
    }


def write_original_wan(folder: Path, weights: Mapping[str, Tensor]) -> Path:
    """The original layout in two shards. -> folder"""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(WAN_SIZES))
    names = list(weights)
    shards = {"00001": names[::2], "00002": names[1::2]}
    placed = {}
    for number, held in shards.items():
        file = f"diffusion_pytorch_model-{number}-of-00002.safetensors"
        save_file({name: weights[name].contiguous() for name in held}, folder / file)
        placed |= dict.fromkeys(held, file)
    index = {"metadata": {"total_size": 0}, "weight_map": placed}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_diffusers_wan(folder: Path, weights: Mapping[str, Tensor], shard: str = "200KB") -> Path:
    """A diffusers repo whose transformer was saved by diffusers itself, in shards. -> folder"""
    from diffusers import WanTransformer3DModel

    heads = WAN_SIZES["num_heads"]
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=heads,
        attention_head_dim=WAN_SIZES["dim"] // heads,
        in_channels=WAN_SIZES["in_dim"],
        out_channels=WAN_SIZES["out_dim"],
        text_dim=weights["text_embedding.0.weight"].shape[1],
        freq_dim=WAN_SIZES["freq_dim"],
        ffn_dim=WAN_SIZES["ffn_dim"],
        num_layers=WAN_SIZES["num_layers"],
        qk_norm="rms_norm_across_heads",
    )
    model.load_state_dict({to_diffusers(from_official(name)): tensor for name, tensor in weights.items()})
    dtype = next(iter(weights.values())).dtype
    model.to(dtype).save_pretrained(folder / "transformer", max_shard_size=shard)
    return folder


def same_bits(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)))
