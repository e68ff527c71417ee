"""Rotary positions in three axes (time, row, column), as real cosines and sines.

Video tokens turn with latent frame, row and column; all views share positions. Actions and states live on the
time axis only, at fractions of a latent frame: 4 video frames make one latent frame, so state j sits at j / 4
and action i at i / (4 * actions_per_frame).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .sizes import TokenLayout

FRAMES_PER_LATENT = 4  # temporal stride of the video VAE
BASE = 10000.0


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """How many channels of a head turn with time, row and column (44/42/42 of 128)."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def token_positions(layout: TokenLayout) -> Tensor:
    """Position of every token on the three axes. -> L 3, float64"""
    frame, _, row, column = torch.meshgrid(
        *(
            torch.arange(n, dtype=torch.float64)
            for n in (layout.frames, layout.views, layout.rows, layout.columns)
        ),
        indexing="ij",
    )
    video = torch.stack([frame, row, column], dim=-1).reshape(-1, 3)
    moments = torch.cat(
        [
            torch.arange(layout.actions, dtype=torch.float64)
            / (FRAMES_PER_LATENT * layout.actions_per_frame),
            torch.arange(layout.states, dtype=torch.float64) / FRAMES_PER_LATENT,
        ]
    )
    return torch.cat([video, torch.nn.functional.pad(moments[:, None], (0, 2))])


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a table first made while acting must serve training too
def rope_table(layout: TokenLayout, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines c c and sines -s s of every token's angles, for each pair of channels. -> (L head_dim) twice

    Angles are computed in float64 on the host: a float32 position times a frequency already costs 1e-5.
    """
    positions = token_positions(layout)
    angles = []
    for axis, width in enumerate(axis_widths(head_dim)):
        frequencies = BASE ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles.append(positions[:, axis, None] * frequencies)
    angle = torch.cat(angles, dim=-1)  # L head_dim/2
    cos, sin = angle.cos().float().to(device), angle.sin().float().to(device)
    return torch.stack([cos, cos], dim=-1).flatten(-2), torch.stack([-sin, sin], dim=-1).flatten(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring channel pairs (2i, 2i+1) by their angle. x: B L heads head_dim"""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x.float() * cos[:, None], swapped.float(), sin[:, None]).to(x.dtype)
