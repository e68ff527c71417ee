"""The small video VAE: training and what comes out of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tiny_codecs.clips import FRAMES, HELD_OUT_SEED, augment, depth_clips, render_clips, rgb_clips
from tiny_codecs.muon import Muon

VAE_CONFIG: dict[str, Any] = {
    "base_dim": 16,
    "decoder_base_dim": 24,
    "z_dim": 16,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [True, True],
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_spatial": 8,
    "scale_factor_temporal": 4,
    "latents_mean": [0.0] * 16,
    "latents_std": [1.0] * 16,
}


def make_vae(folder: Path, scenes: int, steps: tuple[int, int], seed: int) -> None:
    """Train, measure, and write the VAE."""
    from diffusers import AutoencoderKLWan

    pictures, metres = render_clips(scenes, seed)
    rgb, depth = rgb_clips(pictures), depth_clips(metres)
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(**VAE_CONFIG)
    start_simple(vae)
    # First single pictures, which cost a ninth: colours and edges. Then clips: motion.
    vae = train(vae, rgb, depth, frames=1, batch=16, steps=steps[0], peak=0.03, seed=seed)
    vae = train(vae, rgb, depth, frames=FRAMES, batch=4, steps=steps[1], peak=0.02, seed=seed + 1)
    mean, std = latent_statistics(vae, [rgb, depth])
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    vae.half().save_pretrained(folder / "vae")
    report(AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=torch.float32), folder / "vae")


@torch.no_grad()
def start_simple(vae: Any) -> None:
    """Before training every frame stands for itself: no look back in time, residual branches silent.

    What is learnt from single pictures then still holds when clips come.
    """
    for name, module in vae.named_modules():
        if name.endswith("time_conv"):  # C or 2C, C, 3, 1, 1: pass the newest frame on, once or twice
            identity = torch.eye(module.in_channels)
            module.weight.zero_()
            module.weight[:, :, -1, 0, 0] = identity.repeat(module.out_channels // module.in_channels, 1)
            module.bias.zero_()
        elif isinstance(module, torch.nn.Conv3d) and module.kernel_size[0] == 3:
            module.weight[:, :, :-1] = 0.0
            if name.endswith("conv2"):
                module.weight.zero_()


def train(
    vae: Any, rgb: Tensor, depth: Tensor, *, frames: int, batch: int, steps: int, peak: float, seed: int
) -> Any:
    """Reconstruction with a trace of KL; returns the running average of the weights."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = Muon(vae.parameters(), peak)
    average = torch.optim.swa_utils.AveragedModel(vae, multi_avg_fn=_running_average(0.99))
    # Five RGB clips to three of depth: colour is the harder half.
    kinds = [i < math.ceil(batch * 5 / 8) for i in range(batch)]
    progress = tqdm(range(steps), desc=f"training the VAE on {frames} frames", unit="step")
    for step in progress:
        clips = []
        for is_rgb in kinds:
            row = int(torch.randint(len(rgb), (1,), generator=generator))
            start = int(torch.randint(FRAMES - frames + 1, (1,), generator=generator))
            clips.append(
                augment((rgb if is_rgb else depth)[row, :, start : start + frames], is_rgb, generator)
            )
        clip = torch.stack(clips)
        posterior = vae.encode(clip).latent_dist
        error = vae.decode(posterior.sample(generator)).sample - clip
        loss = error.abs().mean() + 4.0 * error.square().mean() + 1e-6 * posterior.kl().mean() / frames
        vae.zero_grad(set_to_none=True)
        loss.backward()
        warm_up, cosine = min(1.0, (step + 1) / 30), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimizer.step(rate=warm_up * max(cosine, 0.01))
        average.update_parameters(vae)
        progress.set_postfix(psnr=f"{_psnr(error.detach()).mean():.1f}", refresh=False)
    return average.module.eval()


def _running_average(decay: float) -> Any:
    return torch.optim.swa_utils.get_ema_multi_avg_fn(decay)


def latent_statistics(vae: Any, clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents' mode, per channel.  # C, C"""
    with torch.no_grad():
        modes = [vae.encode(part).latent_dist.mode() for kind in clips for part in kind[:256].split(16)]
    latents = torch.cat(modes).transpose(0, 1).flatten(1)
    return latents.mean(dim=1), latents.std(dim=1)


def report(vae: Any, folder: Path) -> None:
    """What a user gets: PSNR of the stored weights on scenes that training never saw."""
    pictures, metres = render_clips(40, HELD_OUT_SEED)
    shape = (1, -1, 1, 1, 1)
    mean, std = (torch.tensor(vae.config[key]).view(shape) for key in ("latents_mean", "latents_std"))
    for name, clips in (("RGB", rgb_clips(pictures)), ("depth code", depth_clips(metres))):
        errors, spread = [], []
        with torch.no_grad():
            for part in clips.split(8):
                latents = (vae.encode(part).latent_dist.mode() - mean) / std
                errors.append(vae.decode(latents * std + mean).sample - part)
                spread.append(latents)
        error = torch.cat(errors)
        first, rest = _psnr(error[:, :, :1]).mean(), _psnr(error[:, :, 1:]).mean()
        pooled = 10 * math.log10(4.0 / error.square().mean().item())
        print(
            f"{name}: held-out PSNR {_psnr(error).mean():.2f} dB "
            f"(first frame {first:.2f}, others {rest:.2f}; worst clip {_psnr(error).min():.2f}; "
            f"of the mean error {pooled:.2f}); "
            f"normalised latents: std {torch.cat(spread).std():.2f}"
        )
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{folder.name}: {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters, {size:.2f} MB")


def _psnr(error: Tensor) -> Tensor:
    """Per clip, for signals in [-1, 1].  # N 3 F H W -> N"""
    return 10.0 * torch.log10(4.0 / error.square().flatten(1).mean(dim=1))
