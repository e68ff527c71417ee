"""Clips that a VAE learns from: RGB and depth code, as the policy gives them to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lerobot_xwam.codecs.depth import DepthCodec


@dataclass(frozen=True)
class Clips:
    """The same clips in RGB and in depth."""

    rgb: Tensor  # N F H W 3, uint8
    depth: Tensor  # N F H W, metres
    codec: DepthCodec
    # The loss counts depth errors in proportion to the distance: as shares of the depth, not of its code.
    relative_depth: bool = False

    @property
    def frames(self) -> int:
        return self.rgb.shape[1]

    def first_rgb(self, count: int) -> Tensor:
        """The VAE's range.  # N 3 F H W in [-1, 1]"""
        return self.rgb[:count].permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0

    def first_depth(self, count: int) -> Tensor:
        """Three equal channels of depth code.  # N 3 F H W in [-1, 1]"""
        code, _ = self.codec.encode(self.depth[:count].float())
        return code[:, None].expand(-1, 3, -1, -1, -1)

    def draw(self, is_rgb: bool, frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random clip, augmented, and how much its pixels count.  # 3 F H W, 1 F H W"""
        row = int(torch.randint(len(self.rgb), (1,), generator=generator))
        start = int(torch.randint(self.frames - frames + 1, (1,), generator=generator))
        one = Clips(
            self.rgb[row : row + 1, start : start + frames],
            self.depth[row : row + 1, start : start + frames],
            self.codec,
        )
        clip = augment((one.first_rgb(1) if is_rgb else one.first_depth(1))[0], is_rgb, generator)
        if is_rgb or not self.relative_depth:
            return clip, torch.ones_like(clip[:1])
        metres = self.codec.decode(clip[:1])
        return clip, metres / 0.5  # a depth of half a metre counts like colour


def augment(clip: Tensor, is_rgb: bool, generator: torch.Generator) -> Tensor:
    """Often a random 0.95 crop, resized back; sometimes, for RGB, colour jitter.  # 3 F H W"""
    height, width = clip.shape[-2:]
    draw = torch.rand(7, generator=generator)
    if draw[0] < 0.7:
        h, w = round(height * 0.95), round(width * 0.95)
        top, left = int(draw[1] * (height - h + 1)), int(draw[2] * (width - w + 1))
        mode = "bilinear" if is_rgb else "nearest-exact"
        window = clip[..., top : top + h, left : left + w].transpose(0, 1)  # F 3 h w
        clip = functional.interpolate(window, size=(height, width), mode=mode).transpose(0, 1)
    if is_rgb and draw[6] < 0.5:
        brightness, contrast, saturation = (0.8 + 0.4 * draw[3:6]).tolist()
        unit = (clip + 1.0) / 2.0 * brightness
        unit = (unit - unit.mean()) * contrast + unit.mean()
        grey = unit.mean(dim=0, keepdim=True)
        clip = ((unit - grey) * saturation + grey).clamp(0.0, 1.0) * 2.0 - 1.0
    return clip
