"""The frozen encoders' memory: their weights, and what one call needs above them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from ..codecs.source import locate
from ..codecs.video import VideoCodec
from ..configuration_xwam import XWAMConfig
from ..imagination import film
from ..presets import WAN22
from ..training.encoding import encode_centered
from .network import Load, enter, product_dtype, without_memory

# config.json of the parts of Wan2.2-TI2V-5B, for a plan before the download.
KNOWN: dict[str, dict[str, Any]] = {
    "vae": {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "attn_scales": [],
        "temperal_downsample": [False, True, True],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "latents_mean": [0.0] * 48,
        "latents_std": [1.0] * 48,
        "scale_factor_temporal": 4,
        "scale_factor_spatial": 16,
    },
    "text_encoder": {
        "vocab_size": 256384,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_heads": 64,
        "num_layers": 24,
        "feed_forward_proj": "gated-gelu",
    },
}


@dataclass(frozen=True)
class CodecMemory:
    """Bytes. A call's are those above the weights: frames, activations and results."""

    video: int
    text: int
    encode_frame: int  # the one frame of an observation
    encode_clip: int  # RGB and depth of the training windows
    film: int  # what was imagined, of one sample
    encode_text: int
    frames: int  # of the training windows: they stay until the step is done


def codec_memory(config: XWAMConfig, load: Load) -> CodecMemory:
    """The policy's own calls of the encoders, on tensors without memory."""
    from diffusers import AutoencoderKLWan
    from transformers import UMT5Config, UMT5EncoderModel

    dtype = product_dtype(config)
    with torch.device("meta"):
        vae = AutoencoderKLWan.from_config(_config_of(config, "vae"))
        nn.Module.to(vae, dtype)  # diffusers' own would warn of parts in float32, of which there are none
        text = UMT5EncoderModel(UMT5Config(**_config_of(config, "text_encoder"))).to(dtype)
    size, deep = (config.height, config.width), config.depth != "none"

    def encode(frames: int, depth: bool) -> Any:
        rgb = torch.empty(load.batch, load.views, frames, 3, *size)
        code = torch.empty(load.batch, load.views, frames, 2, *size) if depth else None
        return encode_centered(VideoCodec(vae), rgb, code, config.crop_ratio)

    def show() -> Any:
        cells = (config.height // config.vae_stride, config.width // config.vae_stride)
        views = load.views * (2 if deep else 1)
        stacked = torch.empty(1, config.latent_channels, config.latent_frames, views, *cells)
        return film(stacked, VideoCodec(vae), config.latent_frames, load.views)

    def read() -> Any:
        tokens = torch.zeros(1, config.text_tokens, dtype=torch.long)
        return text(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state[0].float()

    pixels = load.batch * load.views * config.num_frames * config.height * config.width
    return CodecMemory(
        video=_bytes(vae),
        text=_bytes(text),
        encode_frame=_call(vae, lambda: encode(1, depth=False)),
        encode_clip=_call(vae, lambda: encode(config.num_frames, depth=deep)),
        film=_call(vae, show),
        encode_text=_call(text, read),
        frames=4 * pixels * (3 + (2 if deep else 0)),  # float32; depth is a code and its validity
    )


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in [*module.parameters(), *module.buffers()])


def _call(module: nn.Module, call: Callable[[], Any]) -> int:
    with without_memory() as live:
        enter(module.eval())
        held = live.hold([*module.parameters(), *module.buffers()])
        with live, torch.no_grad():
            call()
        return live.peak - held


def _config_of(config: XWAMConfig, part: str) -> dict[str, Any]:
    """config.json of a part: on this disk, or that of Wan2.2, which everybody has."""
    source, local = locate(config.codecs, parts=())
    if local:
        path: Any = Path(source) / part / "config.json"
        path = str(path) if path.is_file() else None
    else:
        path = try_to_load_from_cache(source, f"{part}/config.json", revision=config.codecs_revision)
    if isinstance(path, str):
        return json.loads(Path(path).read_text(encoding="utf-8"))
    if config.codecs == WAN22 or local:  # a robot's copy may have come without its text encoder
        return KNOWN[part]
    raise FileNotFoundError(
        f"codecs {config.codecs!r}: {part}/config.json is not on this disk, so its size is not known. "
        f"Download it (`hf download {config.codecs} --include '*/config.json'`)"
    )
