"""Configurations of the frozen encoders, told from the shapes of their weights.

A release brings weights only. diffusers' AutoencoderKLWan and transformers' UMT5EncoderModel want a
config.json. A wrong one shows as a missing, left-over or misshapen weight, so both are built without memory
and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .account import listed
from .conversion import Shapes
from .stored import Stored

PATCH = 2  # pixels along one side that Wan2.2's VAE folds into channels


def vae_config(official: Mapping[str, Stored], mean: list[float], std: list[float]) -> dict[str, Any]:
    """official: names without `vae.model.`"""
    stages = _numbered(official, "encoder.downsamples.")
    res_blocks = sum(f"encoder.downsamples.0.downsamples.{i}.residual.2.weight" in official for i in range(9))
    base = official["encoder.conv1.weight"].shape[0]
    widths = [
        official[f"encoder.downsamples.{i}.downsamples.0.residual.2.weight"].shape[0] for i in range(stages)
    ]
    temporal = [
        f"encoder.downsamples.{i}.downsamples.{res_blocks}.time_conv.weight" in official
        for i in range(stages - 1)
    ]
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": base,
        "decoder_base_dim": official["decoder.head.0.gamma"].shape[0],
        "z_dim": official["conv2.weight"].shape[0],
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": res_blocks,
        "attn_scales": [],
        "temperal_downsample": temporal,  # diffusers' spelling
        "dropout": 0.0,
        "is_residual": True,
        "in_channels": official["encoder.conv1.weight"].shape[1],
        "out_channels": official["decoder.head.2.weight"].shape[0],
        "patch_size": PATCH,
        "scale_factor_temporal": 2 ** sum(temporal),
        "scale_factor_spatial": PATCH * 2 ** (stages - 1),
        "latents_mean": mean,
        "latents_std": std,
    }


def text_encoder_config(official: Mapping[str, Stored]) -> dict[str, Any]:
    """official: names without `text_encoder.model.`"""
    vocabulary, width = official["token_embedding.weight"].shape
    buckets, heads = official["blocks.0.pos_embedding.embedding.weight"].shape
    inner = official["blocks.0.attn.q.weight"].shape[0]
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": official["blocks.0.ffn.fc1.weight"].shape[0],
        "num_heads": heads,
        "num_layers": _numbered(official, "blocks."),
        "vocab_size": vocabulary,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "is_gated_act": True,
        "dense_act_fn": "gelu_new",
        "dropout_rate": 0.0,
        "layer_norm_epsilon": 1e-6,
        "scalable_attention": True,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def check_vae(config: dict[str, Any], held: Shapes) -> None:
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        model = AutoencoderKLWan.from_config(config)
    _compare("AutoencoderKLWan", {n: tuple(t.shape) for n, t in model.state_dict().items()}, held)


def check_text_encoder(config: dict[str, Any], held: Shapes) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**config))
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wanted.pop("encoder.embed_tokens.weight", None)  # the same tensor as `shared.weight`, which is saved once
    _compare("UMT5EncoderModel", wanted, held)


def _compare(name: str, wanted: Shapes, held: Shapes) -> None:
    missing, left_over = sorted(wanted.keys() - held.keys()), sorted(held.keys() - wanted.keys())
    wrong = sorted(key for key in wanted.keys() & held.keys() if wanted[key] != held[key])
    if missing or left_over or wrong:
        raise ValueError(
            f"the file's weights make no {name}: missing {listed(missing) or 'none'}; left over "
            f"{listed(left_over) or 'none'}; of another shape {listed(wrong) or 'none'}"
        )


def _numbered(names: Mapping[str, Any], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)})
