"""Where depth travels: beside the video (its own branch), or inside it, for the paper's ablation.

interleaved  a depth branch regresses the clean depth latent; the video is the RGB alone
sequence     depth latents are further views of the video, denoised with it
channel      depth latents are further channels of the video, denoised with it
none         no depth
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .noise import given_first
from .types import Latents

DepthMode = Literal["interleaved", "sequence", "channel", "none"]
_AXIS = {"channel": 1, "sequence": 3}  # of B C T V H W


def join_depth(video: Tensor, depth: Tensor | None, mode: DepthMode) -> Tensor:
    """RGB latents (with depth latents, or zeros where only shapes matter) -> what the network denoises."""
    if mode not in _AXIS:
        return video
    return torch.cat([video, torch.zeros_like(video) if depth is None else depth], dim=_AXIS[mode])


def split_depth(video: Tensor, mode: DepthMode) -> tuple[Tensor, Tensor | None]:
    """The inverse: -> (RGB latents, depth latents if they travelled inside)."""
    if mode not in _AXIS:
        return video, None
    rgb, depth = video.chunk(2, dim=_AXIS[mode])
    return rgb, depth


def given_of(latents: Latents, mode: DepthMode) -> Latents:
    """Frame 0 of the RGB and state 0 are given; depth never is, a robot need not own a depth sensor."""
    _, channels, _, views, _, _ = latents.video.shape
    return given_first(
        latents,
        video_channels=channels // 2 if mode == "channel" else None,
        video_views=views // 2 if mode == "sequence" else None,
    )
