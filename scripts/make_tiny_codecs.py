"""Make the tiny codecs that ship with the package: real classes, small sizes, nothing to download.

    python scripts/make_tiny_codecs.py            # everything, about 20 minutes on two cores
    python scripts/make_tiny_codecs.py --only text

Writes the layout of a diffusers pipeline (`vae`, `text_encoder`, `tokenizer`) into lerobot_xwam/assets/tiny.
The VAE is trained on the tabletop world: RGB clips and depth-code clips of 9 frames, every 4th of 15 a second,
which is what the policy gives it. The text encoder is random but seeded. The same seed gives the same data and
the same text encoder; training repeats up to the rounding of the machine's convolutions.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from lerobot_xwam.codecs.depth import DepthCodec
from lerobot_xwam.envs.tabletop.cameras import STATIC, camera, wrist_names
from lerobot_xwam.envs.tabletop.expert import Expert
from lerobot_xwam.envs.tabletop.scene import build_scene, random_looks
from lerobot_xwam.envs.tabletop.shading import render
from lerobot_xwam.envs.tabletop.tasks import COLOURS, TASKS
from lerobot_xwam.envs.tabletop.world import World, random_world

TINY = Path(__file__).parents[1] / "lerobot_xwam" / "assets" / "tiny"
SIZE, FRAMES, STRIDE = (64, 80), 9, 4
DEPTH = DepthCodec(near=0.1, far=3.0)
HELD_OUT_SEED = 1_000_000  # scenes that training never sees
TEXT_POSITIONS = 64

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


# --- clips ------------------------------------------------------------------------------------------------------


def render_clips(scenes: int, seed: int) -> tuple[Tensor, Tensor]:
    """RGB clips (uint8) and depth clips (metres) of expert episodes, three cameras each.  # N F H W 3, N F H W"""
    rgb, depth = [], []
    for scene in tqdm(range(scenes), desc="rendering", unit="scene"):
        rng = np.random.default_rng(seed + scene)
        task = TASKS["lift" if rng.random() < 0.6 else "lift_two_arms"]
        world = random_world(task, rng)
        looks = random_looks(rng)
        wrists = list(wrist_names(task))
        names = [wrists[int(rng.integers(len(wrists)))], *rng.choice(list(STATIC), size=2, replace=False)]
        views = [[], [], []]  # type: list[list[Any]]
        for _ in _every_fourth_step(world, rng):
            drawn = build_scene(world, looks)
            for view, name in zip(views, names, strict=True):
                view.append(render(camera(str(name), world, SIZE), drawn))
        for view in views:
            rgb.append(np.stack([picture for picture, _ in view]))
            depth.append(np.stack([metres for _, metres in view]))
    return torch.from_numpy(np.stack(rgb)), torch.from_numpy(np.stack(depth))


def _every_fourth_step(world: World, rng: np.random.Generator) -> Any:
    """Let the expert act from a random moment on, and pause at the 9 frames of a clip."""
    expert = Expert(world, rng)
    for _ in range(int(rng.integers(0, expert.length - STRIDE * (FRAMES - 1)))):
        world.step(expert.targets(world))
    for frame in range(FRAMES):
        yield frame
        for _ in range(STRIDE):
            world.step(expert.targets(world))


def rgb_clips(pictures: Tensor) -> Tensor:
    """uint8 -> the VAE's range.  # N F H W 3 -> N 3 F H W in [-1, 1]"""
    return pictures.permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def depth_clips(metres: Tensor) -> Tensor:
    """Depth -> three equal channels of depth code.  # N F H W -> N 3 F H W in [-1, 1]"""
    code, _ = DEPTH.encode(metres)
    return code[:, None].expand(-1, 3, -1, -1, -1)


def augment(clip: Tensor, is_rgb: bool, generator: torch.Generator) -> Tensor:
    """A random 0.95 crop, resized back, for half of the clips; colour jitter for RGB.  # 3 F H W"""
    height, width = SIZE
    draw = torch.rand(6, generator=generator)
    if draw[0] < 0.5:
        h, w = round(height * 0.95), round(width * 0.95)
        top, left = int(draw[1] * (height - h + 1)), int(draw[2] * (width - w + 1))
        mode = "bilinear" if is_rgb else "nearest-exact"
        window = clip[..., top : top + h, left : left + w].transpose(0, 1)  # F 3 h w
        clip = functional.interpolate(window, size=SIZE, mode=mode).transpose(0, 1)
    if is_rgb:
        brightness, contrast, saturation = (0.8 + 0.4 * draw[3:6]).tolist()
        unit = (clip + 1.0) / 2.0 * brightness
        unit = (unit - unit.mean()) * contrast + unit.mean()
        grey = unit.mean(dim=0, keepdim=True)
        clip = ((unit - grey) * saturation + grey).clamp(0.0, 1.0) * 2.0 - 1.0
    return clip


# --- VAE --------------------------------------------------------------------------------------------------------


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


class Muon:
    """Momentum whose steps are made orthogonal, for kernels; Adam for vectors.

    On this small network it needs a fraction of Adam's steps: after 300 single-picture steps held-out RGB stood
    at 24 dB against 20 dB with AdamW at its best rate.
    """

    def __init__(self, parameters: Iterable[Tensor], peak: float) -> None:
        self.parameters, self.peak, self.steps = list(parameters), peak, 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update with a share of the peak rate."""
        self.steps += 1
        for p, first, second in zip(self.parameters, self.first, self.second, strict=True):
            if p.grad is None:
                continue
            if p.ndim >= 4:
                first.mul_(0.95).add_(p.grad)
                direction = (p.grad + 0.95 * first).flatten(1)
                p.sub_(rate * self.peak * _orthogonal(direction).view_as(p))
            else:
                first.lerp_(p.grad, 0.1)
                second.lerp_(p.grad.square(), 0.02)
                scale = (second / (1 - 0.98**self.steps)).sqrt() + 1e-8
                p.sub_(rate * 2e-3 * first / (1 - 0.9**self.steps) / scale)


def _orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the closest matrix with orthonormal rows or columns, by Newton-Schulz; tall ones scaled up."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5


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
            f"{name}: held-out PSNR {_psnr(error).mean():.2f} dB (first frame {first:.2f}, others {rest:.2f}, "
            f"worst clip {_psnr(error).min():.2f}, of the mean error {pooled:.2f}); "
            f"normalised latents: std {torch.cat(spread).std():.2f}"
        )
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{folder.name}: {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters, {size:.2f} MB")


def _psnr(error: Tensor) -> Tensor:
    """Per clip, for signals in [-1, 1].  # N 3 F H W -> N"""
    return 10.0 * torch.log10(4.0 / error.square().flatten(1).mean(dim=1))


# --- text -------------------------------------------------------------------------------------------------------


def make_text(folder: Path, seed: int) -> None:
    """A random, seeded umT5 encoder over bytes, and its tokenizer."""
    from transformers import AutoTokenizer, ByT5Tokenizer, UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=384, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    torch.manual_seed(seed)
    encoder = UMT5EncoderModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(encoder.named_parameters()):
        if weight.ndim == 1:
            continue  # norms stay at 1: the last one gives the output unit root mean square
        fan_in = 1 if "shared" in name or "embed_tokens" in name else weight.shape[1]
        weight.data = torch.randn(weight.shape, generator=generator) / math.sqrt(fan_in)
        if "relative_attention_bias" in name:
            weight.data = 3.0 * torch.randn(
                weight.shape, generator=generator
            )  # so that the order of bytes counts
    encoder.save_pretrained(folder / "text_encoder")
    ByT5Tokenizer().save_pretrained(folder / "tokenizer")
    report_text(
        UMT5EncoderModel.from_pretrained(folder / "text_encoder"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )


def report_text(encoder: Any, tokenizer: Any) -> None:
    """How far apart the wordings are for the two colours."""
    features = {}
    for colour in COLOURS:
        prompts = [wording.format(colour=colour) for wording in TASKS["lift"].wordings]
        tokens = tokenizer(prompts, padding="max_length", max_length=TEXT_POSITIONS, return_tensors="pt")
        with torch.no_grad():
            features[colour] = encoder(
                tokens.input_ids, attention_mask=tokens.attention_mask
            ).last_hidden_state
    red, blue = (features[colour] for colour in COLOURS)  # N positions dim
    apart = (red.mean(dim=1) - blue.mean(dim=1)).norm(dim=1) / red.mean(dim=1).norm(dim=1)
    print(
        f"text: output std {red.std():.2f}; red against blue, same wording: mean features differ by "
        f"{apart.min():.0%} to {apart.max():.0%}, single positions by {(red - blue).square().mean().sqrt():.2f} rms"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TINY)
    parser.add_argument("--only", choices=["vae", "text"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=400, help="rendered for training, three clips each")
    parser.add_argument("--picture-steps", type=int, default=1200)
    parser.add_argument("--clip-steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1, help="more help only on an idle machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=options.out) as workshop:
        if options.only != "vae":
            make_text(Path(workshop), options.seed)
        if options.only != "text":
            steps = options.picture_steps, options.clip_steps
            make_vae(Path(workshop), options.scenes, steps, options.seed)
        for file in Path(workshop).rglob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes files that only their owner can read
        for part in sorted(Path(workshop).iterdir()):
            shutil.rmtree(options.out / part.name, ignore_errors=True)
            part.rename(options.out / part.name)


if __name__ == "__main__":
    main()
