"""Sizes that go together. A preset fills every setting left at 0 or empty; anything given by hand wins."""

from __future__ import annotations

from typing import Any

WAN22 = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"  # has the subfolders vae, text_encoder and tokenizer
TINY_CODECS = "tiny"  # the small codecs that come with the package

PRESETS: dict[str, dict[str, Any]] = {
    # Wan2.2-TI2V-5B with X-WAM's additions: 6.675 B parameters, 761 tokens at 256x320 and 3 views.
    "wan2.2-5b": {
        "height": 256,
        "width": 320,
        "dim": 3072,
        "ffn_dim": 14336,
        "heads": 24,
        "blocks": 30,
        "depth_blocks": 10,
        "time_dim": 256,
        "max_views": 3,
        "latent_channels": 48,
        "vae_stride": 16,
        "text_dim": 4096,
        "text_tokens": 512,
        "codecs": WAN22,
        "dtype": "bfloat16",
    },
    # The same architecture, small enough to train on a laptop in minutes; codecs included, nothing is
    # downloaded.
    "tiny": {
        "height": 64,
        "width": 80,
        "dim": 96,
        "ffn_dim": 256,
        "heads": 4,
        "blocks": 6,
        "depth_blocks": 2,
        "time_dim": 64,
        "max_views": 8,
        "latent_channels": 16,
        "vae_stride": 8,
        "text_dim": 64,
        "text_tokens": 64,
        "codecs": TINY_CODECS,
        "dtype": "float32",
    },
}
