"""Metric depth <-> what the video VAE can carry: inverse depth in [-1, 1], three equal channels.

    code = 2 (1/d - 1/far) / (1/near - 1/far) - 1        near -> +1, far -> -1

Inverse depth spends its resolution where a gripper works. near and far are the checkpoint's, so the code can
be turned back into metres. Pixels without a reading (0, negative, NaN, infinite) become far and are marked
invalid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DEPTH_CODEC_VERSION = 1
MM_PER_M = 1000.0


@dataclass(frozen=True)
class DepthCodec:
    near: float  # metres
    far: float

    def encode(self, metres: Tensor) -> tuple[Tensor, Tensor]:
        """metres (any shape) -> (code in [-1, 1], valid as bool), same shape"""
        valid = torch.isfinite(metres) & (metres > 0)
        inverse = 1 / torch.where(valid, metres, self.far).clamp(self.near, self.far)
        return 2 * (inverse - 1 / self.far) / (1 / self.near - 1 / self.far) - 1, valid

    def decode(self, code: Tensor) -> Tensor:
        """code -> metres; codes outside [-1, 1] (a VAE overshoots a little) are held at near and far."""
        inverse = (code.clamp(-1, 1) + 1) / 2 * (1 / self.near - 1 / self.far) + 1 / self.far
        return 1 / inverse


def to_metres(depth: Tensor, unit: str, key: str) -> Tensor:
    """Depth frames as LeRobot hands them over -> float32 metres.

    Integers are millimetres. Floats are what `unit` says; a median that no robot camera could see means that
    the unit is wrong, and is refused rather than learnt.
    """
    if not depth.is_floating_point():
        unit = "mm"
    metres = depth.float() / (MM_PER_M if unit == "mm" else 1.0)
    seen = metres[torch.isfinite(metres) & (metres > 0)]
    if seen.numel() and not 0.02 < (median := float(seen.median())) < 100:
        other = "m" if unit == "mm" else "mm"
        raise ValueError(
            f"{key}: median depth {median:.4g} m when read as {unit!r}; that is outside 0.02..100 m. "
            f"If its unit is {other!r}, set --policy.depth_unit={other} (with --policy.path, which keeps its "
            f"unit: --dataset.depth_output_unit={unit})"
        )
    return metres


def valid_latents(valid: Tensor, latents: Tensor) -> Tensor:
    """A depth latent counts if half of its pixels had a reading. valid: B V F 1 H W -> B 1 T V h w"""
    _, _, frames, _, height, width = latents.shape
    share = F.adaptive_avg_pool2d(valid.flatten(0, 2), (height, width))  # B*V*F 1 h w
    share = share.view(*valid.shape[:3], height, width)  # B V F h w
    later = share[:, :, 1:].unflatten(2, (frames - 1, -1)).mean(dim=3)  # four frames make one latent
    return (torch.cat([share[:, :, :1], later], dim=2) >= 0.5).transpose(1, 2).unsqueeze(1)
