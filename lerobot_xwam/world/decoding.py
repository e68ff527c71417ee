"""Latents -> frames in pieces, one view at a time: the memory is that of one view and four frames.

The VAE is causal and remembers what it needs of earlier frames, so a view is decoded latent frame by latent
frame; every piece is handed on as soon as it is there. The numbers are those of decoding all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lerobot_xwam.codecs.depth import DepthCodec
from lerobot_xwam.codecs.video import VideoCodec
from lerobot_xwam.model.types import Rollout
from lerobot_xwam.pictures import rgb_pixels


@dataclass(frozen=True)
class Piece:
    """Some consecutive frames of one view."""

    view: int
    start: int  # of the first frame
    rgb: NDArray[np.uint8]  # n H W 3
    metres: NDArray[np.float32] | None  # n H W


def frame_count(latent_frames: int) -> int:
    return 4 * (latent_frames - 1) + 1


def decode_in_pieces(rollout: Rollout, codec: VideoCodec, depth_codec: DepthCodec) -> Iterator[Piece]:
    """View by view, in order of time. The rollout is of one sample: video and depth 1 C T V h w."""
    video, depth = rollout.latents.video, rollout.depth
    if len(video) != 1:
        raise ValueError(f"a rollout of {len(video)} samples; decode one at a time")
    for view in range(video.shape[3]):
        start, codes = 0, None if depth is None else stream(codec, depth[:, :, :, view])
        for frames in stream(codec, video[:, :, :, view]):  # 1 n 3 H W
            metres = None
            if codes is not None:
                metres = depth_codec.decode(next(codes)[0].mean(dim=1)).cpu().numpy()  # n H W
            yield Piece(view, start, rgb_pixels(frames[0]), metres)
            start += frames.shape[1]


def stream(codec: VideoCodec, latents: Tensor) -> Iterator[Tensor]:
    """One view's latents, B C T h w -> frames in [-1, 1]: B 1 3 H W, then B 4 3 H W again and again.

    Several streams may run at once: each keeps the VAE's memory of its own past.
    """
    vae = codec.vae
    shape = (1, -1, 1, 1, 1)
    std, mean = (
        torch.tensor(values, device=vae.device).view(shape)
        for values in (vae.config.latents_std, vae.config.latents_mean)
    )
    vae.clear_cache()
    past: list[Tensor | None] = [None] * vae._conv_num
    for t in range(latents.shape[2]):
        with torch.no_grad(), torch.autocast(vae.device.type, enabled=False):
            raw = (latents[:, :, t : t + 1].to(vae.device).float() * std + mean).to(vae.dtype)
            frames = vae.decoder(vae.post_quant_conv(raw), feat_cache=past, feat_idx=[0], first_chunk=t == 0)
            if vae.config.patch_size is not None:
                frames = _unpatchify(frames, vae.config.patch_size)
        yield frames.float().clamp(-1, 1).transpose(1, 2)


def _unpatchify(frames: Tensor, patch: int) -> Tensor:
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    return unpatchify(frames, patch_size=patch)
