"""Training clips from the tabletop world: RGB and depth code, as the policy gives them to the VAE."""

from __future__ import annotations

from collections.abc import Iterator
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
from lerobot_xwam.envs.tabletop.tasks import TASKS
from lerobot_xwam.envs.tabletop.world import World, random_world

SIZE, FRAMES, STRIDE = (64, 80), 9, 4  # every fourth of 15 frames a second
DEPTH = DepthCodec(near=0.1, far=3.0)
HELD_OUT_SEED = 1_000_000  # scenes that training never sees


def render_clips(scenes: int, seed: int) -> tuple[Tensor, Tensor]:
    """RGB (uint8) and depth (metres) of expert episodes, three cameras each.  # N F H W 3, N F H W"""
    rgb, depth = [], []
    for scene in tqdm(range(scenes), desc="rendering", unit="scene"):
        rng = np.random.default_rng(seed + scene)
        task = TASKS["lift" if rng.random() < 0.6 else "lift_two_arms"]
        world = random_world(task, rng)
        looks = random_looks(rng)
        wrists = list(wrist_names(task))
        names = [wrists[int(rng.integers(len(wrists)))], *rng.choice(list(STATIC), size=2, replace=False)]
        views: list[list[Any]] = [[] for _ in names]
        for _ in _every_fourth_step(world, rng):
            drawn = build_scene(world, looks)
            for view, name in zip(views, names, strict=True):
                view.append(render(camera(str(name), world, SIZE), drawn))
        for view in views:
            rgb.append(np.stack([picture for picture, _ in view]))
            depth.append(np.stack([metres for _, metres in view]))
    return torch.from_numpy(np.stack(rgb)), torch.from_numpy(np.stack(depth))


def _every_fourth_step(world: World, rng: np.random.Generator) -> Iterator[int]:
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
    """Often a random 0.95 crop, resized back; sometimes, for RGB, colour jitter.  # 3 F H W"""
    height, width = SIZE
    draw = torch.rand(7, generator=generator)
    if draw[0] < 0.7:
        h, w = round(height * 0.95), round(width * 0.95)
        top, left = int(draw[1] * (height - h + 1)), int(draw[2] * (width - w + 1))
        mode = "bilinear" if is_rgb else "nearest-exact"
        window = clip[..., top : top + h, left : left + w].transpose(0, 1)  # F 3 h w
        clip = functional.interpolate(window, size=SIZE, mode=mode).transpose(0, 1)
    if is_rgb and draw[6] < 0.5:
        brightness, contrast, saturation = (0.8 + 0.4 * draw[3:6]).tolist()
        unit = (clip + 1.0) / 2.0 * brightness
        unit = (unit - unit.mean()) * contrast + unit.mean()
        grey = unit.mean(dim=0, keepdim=True)
        clip = ((unit - grey) * saturation + grey).clamp(0.0, 1.0) * 2.0 - 1.0
    return clip
