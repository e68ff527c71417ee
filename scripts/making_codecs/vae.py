"""Training of a small video VAE, and what comes out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from making_codecs.clips import Clips
from making_codecs.muon import Muon

RGB_SHARE = 5 / 8  # of the clips; the rest is depth. Colour is the harder half
LATENT_NOISE = (
    0.05  # in standard deviations: the decoder must forgive what a diffusion model gets a little wrong
)


@dataclass(frozen=True)
class VaeSize:
    """What differs between our VAEs; everything else is Wan2.2's own architecture."""

    channels: int  # of the latents
    encoder_width: int
    decoder_width: int
    levels: tuple[int, ...]  # width multipliers; each further one halves the picture once more
    shrink_time: tuple[bool, ...]  # where two frames become one; twice in all

    def config(self) -> dict[str, Any]:
        """Arguments of `AutoencoderKLWan`."""
        return {
            "base_dim": self.encoder_width,
            "decoder_base_dim": self.decoder_width,
            "z_dim": self.channels,
            "dim_mult": list(self.levels),
            "num_res_blocks": 1,
            "attn_scales": [],
            "temperal_downsample": list(self.shrink_time),
            "is_residual": True,
            "patch_size": 2,
            "in_channels": 12,
            "out_channels": 12,
            "scale_factor_spatial": 2 ** len(self.levels),
            "scale_factor_temporal": 4,
            "latents_mean": [0.0] * self.channels,
            "latents_std": [1.0] * self.channels,
        }


def make_vae(
    folder: Path,
    size: VaeSize,
    seen: Clips,
    unseen: Clips,
    *,
    steps: tuple[int, int],
    peaks: tuple[float, float],
    seed: int,
) -> None:
    """Train on `seen`, measure on `unseen`, and write the VAE. `steps` and `peaks`: of pictures and clips."""
    from diffusers import AutoencoderKLWan

    torch.manual_seed(seed)
    vae = AutoencoderKLWan(**size.config())
    start_simple(vae)
    # First single pictures, which cost a fraction: colours and edges. Then clips: motion. Many small batches
    # go further than few large ones.
    vae = train(vae, seen, frames=1, batch=4, steps=steps[0], peak=peaks[0], seed=seed)
    vae = train(vae, seen, frames=seen.frames, batch=2, steps=steps[1], peak=peaks[1], seed=seed + 1)
    mean, std = latent_statistics(vae, [seen.first_rgb(256), seen.first_depth(256)])
    vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    vae.half().save_pretrained(folder / "vae")
    stored = AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    report(stored, unseen, folder / "vae")


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
    # The second half of the posterior is its log-variance. Only the mode is used: let samples stay close.
    vae.quant_conv.weight[vae.config.z_dim :] = 0.0
    vae.quant_conv.bias[vae.config.z_dim :] = -6.0


def train(vae: Any, seen: Clips, *, frames: int, batch: int, steps: int, peak: float, seed: int) -> Any:
    """Reconstruct from slightly noisy latents; returns the running average of the weights."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = Muon(vae.parameters(), peak)
    average = torch.optim.swa_utils.AveragedModel(vae, multi_avg_fn=_running_average(0.995))
    progress = tqdm(range(steps), desc=f"training the VAE on {frames} frames", unit="step")
    for step in progress:
        kinds = [bool(torch.rand(1, generator=generator) < RGB_SHARE) for _ in range(batch)]
        drawn = [seen.draw(is_rgb, frames, generator) for is_rgb in kinds]
        clip = torch.stack([part for part, _ in drawn])  # B 3 F H W
        weight = torch.stack([part for _, part in drawn])  # B 1 F H W or ones
        latents = vae.encode(clip).latent_dist.mode()
        spread = latents.detach().std(dim=(0, 2, 3, 4), keepdim=True)
        noise = torch.randn(latents.shape, generator=generator)
        error = decode_unclamped(vae, latents + LATENT_NOISE * spread * noise) - clip
        loss = (weight * (error.abs() + 4.0 * error.square())).mean()
        vae.zero_grad(set_to_none=True)
        loss.backward()
        warm_up, cosine = min(1.0, (step + 1) / 30), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimizer.step(rate=warm_up * max(cosine, 0.01))
        average.update_parameters(vae)
        progress.set_postfix(psnr=f"{_psnr(error.detach()).mean():.1f}", refresh=False)
    return average.module.eval()


def decode_unclamped(vae: Any, latents: Tensor) -> Tensor:
    """`vae.decode` without its last step: values held at -1 or 1 would have no gradient to come back by."""
    vae.clear_cache()
    hidden, frames = vae.post_quant_conv(latents), []
    for i in range(latents.shape[2]):
        vae._conv_idx = [0]
        part = hidden[:, :, i : i + 1]
        frames.append(vae.decoder(part, feat_cache=vae._feat_map, feat_idx=vae._conv_idx, first_chunk=i == 0))
    vae.clear_cache()
    patches = torch.cat(frames, dim=2)
    # The patch's column comes before its row in the channels.
    patches = patches.unflatten(1, (3, 2, 2)).permute(0, 1, 4, 5, 3, 6, 2)  # B C F h row w column
    return patches.flatten(5, 6).flatten(3, 4)


def _running_average(decay: float) -> Any:
    return torch.optim.swa_utils.get_ema_multi_avg_fn(decay)


def latent_statistics(vae: Any, clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents' mode, per channel.  # C, C"""
    with torch.no_grad():
        modes = [vae.encode(part).latent_dist.mode() for kind in clips for part in kind[:256].split(16)]
    latents = torch.cat(modes).transpose(0, 1).flatten(1)
    return latents.mean(dim=1), latents.std(dim=1)


def report(vae: Any, unseen: Clips, folder: Path) -> None:
    """What a user gets: PSNR of the stored weights on scenes that training never saw."""
    shape = (1, -1, 1, 1, 1)
    mean, std = (torch.tensor(vae.config[key]).view(shape) for key in ("latents_mean", "latents_std"))
    for name, clips in (("RGB", unseen.first_rgb(320)), ("depth code", unseen.first_depth(320))):
        errors, spread, relative = [], [], []
        with torch.no_grad():
            for part in clips.split(8):
                latents = (vae.encode(part).latent_dist.mode() - mean) / std
                shown = vae.decode(latents * std + mean).sample
                errors.append(shown - part)
                spread.append(latents)
                metres = unseen.codec.decode(part)
                relative.append((unseen.codec.decode(shown) - metres).abs() / metres)
        error = torch.cat(errors)
        first, rest = _psnr(error[:, :, :1]).mean(), _psnr(error[:, :, 1:]).mean()
        pooled = 10 * math.log10(4.0 / error.square().mean().item())
        print(
            f"{name}: held-out PSNR {_psnr(error).mean():.2f} dB "
            f"(first frame {first:.2f}, others {rest:.2f}; worst clip {_psnr(error).min():.2f}; "
            f"of the mean error {pooled:.2f}); "
            f"normalised latents: std {torch.cat(spread).std():.2f}"
        )
        if name != "RGB":
            off = torch.cat(relative)
            print(f"depth: relative error {off.mean():.4f} mean, {off.median():.4f} median")
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{folder.name}: {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters, {size:.2f} MB")


def _psnr(error: Tensor) -> Tensor:
    """Per clip, for signals in [-1, 1].  # N 3 F H W -> N"""
    return 10.0 * torch.log10(4.0 / error.square().flatten(1).mean(dim=1))
