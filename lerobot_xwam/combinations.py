"""Settings that contradict each other or mean nothing, refused in words before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .benchmarks.steps import ENVIRONMENT_ACTION_DIMS
from .codecs.depth import DEPTH_CODEC_VERSION
from .model.rope import FRAMES_PER_LATENT

if TYPE_CHECKING:
    from .configuration_xwam import XWAMConfig


def refuse_bad_combinations(config: XWAMConfig) -> None:
    """Say which setting, what it is, what it may be, and what to do."""
    for name, allowed in {
        "interface": ("auto", "ee", "native"),
        "benchmark": ("", *ENVIRONMENT_ACTION_DIMS),
        "depth": ("interleaved", "none", "sequence", "channel"),
        "noise_law": ("ans", "decoupled", "synchronous"),
        "time_law": ("uniform", "beta"),
        "dtype": ("bfloat16", "float32"),  # "auto" has become one of them
        "weights_dtype": ("", "bfloat16", "float32"),
        "depth_unit": ("mm", "m"),
    }.items():
        if (value := getattr(config, name)) not in allowed:
            raise ValueError(f"{name}={value!r} is unknown: use one of {', '.join(map(repr, allowed))}")
    if config.weights_dtype == "bfloat16" and config.dtype != "bfloat16":
        raise ValueError(
            f"weights_dtype='bfloat16' cannot be multiplied in dtype={config.dtype!r}: set "
            "dtype='bfloat16', or leave weights_dtype away"
        )
    cell = config.patch_pixels
    for name in ("height", "width"):
        if (value := getattr(config, name)) % cell or value <= 0:
            raise ValueError(
                f"{name}={value} is no multiple of {cell} (VAE stride {config.vae_stride} x patch 2): "
                f"use {max(cell, round(value / cell) * cell)}"
            )
    if config.num_frames < 2 or (config.num_frames - 1) % FRAMES_PER_LATENT:
        raise ValueError(
            f"num_frames={config.num_frames}: the VAE wants 1 + a multiple of {FRAMES_PER_LATENT}, e.g. 9"
        )
    if not 1 <= config.n_action_steps <= config.chunk_size:
        raise ValueError(
            f"n_action_steps={config.n_action_steps} must lie between 1 and the chunk's {config.chunk_size}"
        )
    if config.depth_codec_version != DEPTH_CODEC_VERSION:
        raise ValueError(
            f"depth_codec_version={config.depth_codec_version}: only version {DEPTH_CODEC_VERSION} of the "
            "metric depth code is known here; use the lerobot_policy_xwam that wrote the checkpoint"
        )
    if not 0 < config.depth_near < config.depth_far:
        raise ValueError(
            f"depth_near={config.depth_near}, depth_far={config.depth_far}: need 0 < near < far, in metres"
        )
    if config.micro_batch < 0:
        raise ValueError(f"micro_batch={config.micro_batch}: use 1 or more samples, or 0 for all of them")
    if not 0 <= config.ema_decay < 1:
        raise ValueError(f"ema_decay={config.ema_decay} must lie in [0, 1): 0.999 is usual, 0 keeps none")
    if not 1 <= config.max_views <= 8:
        raise ValueError(f"max_views={config.max_views} must lie between 1 and 8")
    if not 0 < config.crop_ratio <= 1:
        raise ValueError(f"crop_ratio={config.crop_ratio} must lie in (0, 1]; 1 switches cropping off")
    if config.time_law == "beta" and config.noise_law != "synchronous":
        raise ValueError(
            f"time_law='beta' has no meaning with noise_law={config.noise_law!r}: "
            "set noise_law='synchronous' or time_law='uniform'"
        )
    for name in ("clean_action_ratio", "text_dropout"):
        if not 0 <= (value := getattr(config, name)) <= 1:
            raise ValueError(f"{name}={value} is a probability: use a value in [0, 1]")
    for name, most in {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}.items():
        if not 0 <= (value := getattr(config, name)) <= most:
            raise ValueError(f"{name}={value} must lie in [0, {most}]; 0 switches it off")
    if config.interface == "ee" and (config.state_width < 16 or config.action_width < 14):
        raise ValueError(
            f"interface='ee' needs state_width >= 16 and action_width >= 14, "
            f"got {config.state_width} and {config.action_width}"
        )
    config.refuse_bad_robot_settings(config.chunk_size, config.loss_spectrum)
    config.refuse_bad_speed_settings(config.guidance, config.dtype, config.use_peft)
    _ = config.sizes, config.plan  # their own checks
