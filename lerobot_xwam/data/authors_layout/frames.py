"""Video frames of the authors' layout as the network sees them: 8-bit RGB and 8-bit depth -> [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from ..views import resize


def rgb_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """# T H W 3 uint8 -> T 3 h w"""
    return resize(_unit(frames), size)


def depth_frames(frames: Tensor, size: tuple[int, int], per_view: bool = False) -> Tensor:
    """A depth code without metric scale. `per_view` stretches what one camera sees in a clip to [-1, 1].
    # T H W 3 uint8 -> T 3 h w
    """
    code = resize(_unit(frames), size, depth=True)
    if not per_view:
        return code
    low, high = code.min(), code.max()
    return (code - low) / (high - low).clamp(min=1e-6) * 2 - 1


def _unit(frames: Tensor) -> Tensor:
    if frames.dtype != torch.uint8 or frames.dim() != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames of {frames.dtype}, {tuple(frames.shape)}: wanted uint8, T H W 3")
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1
