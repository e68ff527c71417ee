"""Frames of a clip -> latents, the same way in training and for the latent cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..codecs.depth import valid_latents
from ..codecs.video import VideoCodec
from ..data.views import Augmentation, augment, center_crop


@dataclass(frozen=True)
class Encoded:
    """What the frozen VAE makes of a clip; depth and valid come together or not at all."""

    video: Tensor  # B C T V h w
    depth: Tensor | None = None  # B C T V h w
    valid: Tensor | None = None  # B 1 T V h w, bool: which depth latents had readings

    def to(self, device: torch.device) -> Encoded:
        depth = None if self.depth is None else self.depth.to(device)
        valid = None if self.valid is None else self.valid.to(device)
        return Encoded(self.video.to(device), depth, valid)


@torch.no_grad()
def encode_augmented(
    codec: VideoCodec,
    rgb: Tensor,  # B V F 3 H W in [-1, 1]
    depth: Tensor | None,  # B V F 2 H W: code and validity
    how: Augmentation,
    generators: list[torch.Generator],
) -> Encoded:
    """As training sees it: random crops and colours."""
    return _encode(codec, *augment(rgb, depth, how, generators))


@torch.no_grad()
def encode_centered(codec: VideoCodec, rgb: Tensor, depth: Tensor | None, ratio: float) -> Encoded:
    """As the robot and the validation see it: the middle of the frames."""
    cut = None if depth is None else center_crop(depth, ratio, depth=True)
    return _encode(codec, center_crop(rgb, ratio), cut)


def _encode(codec: VideoCodec, rgb: Tensor, depth: Tensor | None) -> Encoded:
    video = codec.encode(rgb)
    if depth is None:
        return Encoded(video)
    latents = codec.encode(depth[:, :, :, :1].expand(-1, -1, -1, 3, -1, -1))
    return Encoded(video, latents, valid_latents(depth[:, :, :, 1:], latents))
