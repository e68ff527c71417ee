"""Sizes that go together. A preset fills every setting left at 0 or empty; anything given by hand wins."""

from __future__ import annotations

from typing import Any

WAN22 = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"  # has the subfolders vae, text_encoder and tokenizer
TINY_CODECS, SMALL_CODECS = "tiny", "small"  # they come with the package
FROM_NOTHING = ("tiny", "small")  # presets that nobody expects to start from trained weights

PRESETS: dict[str, dict[str, Any]] = {
    # Wan2.2-TI2V-5B with X-WAM's additions: 6.675 B parameters, 761 tokens at 256x320 and 3 views.
    "wan2.2-5b": {
        "num_frames": 9,
        "depth_near": 0.1,
        "depth_far": 10.0,
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
        "num_frames": 9,
        "depth_near": 0.1,
        "depth_far": 10.0,
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
    # The smallest that does a job: for the robosuite tasks, trained on a CPU in an hour or two. 93 tokens at
    # 96x128 and 3 views; four imagined frames (0.8 s at 20 Hz) and 16 actions. Its codecs come with it, too.
    "small": {
        "num_frames": 5,
        "depth_near": 0.1,
        "depth_far": 4.0,
        "height": 96,
        "width": 128,
        "dim": 192,
        "ffn_dim": 576,
        "heads": 6,
        "blocks": 6,
        "depth_blocks": 2,
        "time_dim": 64,
        "max_views": 3,
        "latent_channels": 32,
        "vae_stride": 16,
        "text_dim": 64,
        "text_tokens": 64,
        "codecs": SMALL_CODECS,
        "dtype": "float32",
    },
}
