"""Clips of the tabletop world, rendered for the occasion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lerobot_xwam.codecs.depth import DepthCodec
from lerobot_xwam.envs.tabletop.cameras import STATIC, camera, wrist_names
from lerobot_xwam.envs.tabletop.expert import Expert
from lerobot_xwam.envs.tabletop.scene import build_scene, random_looks
from lerobot_xwam.envs.tabletop.shading import render
from lerobot_xwam.envs.tabletop.tasks import TASKS
from lerobot_xwam.envs.tabletop.world import World, random_world
from making_codecs.clips import Clips

SIZE, FRAMES, STRIDE = (64, 80), 9, 4  # every fourth of 15 frames a second
DEPTH = DepthCodec(near=0.1, far=3.0)
HELD_OUT_SEED = 1_000_000  # scenes that training never sees


def tabletop_clips(scenes: int, seed: int) -> Clips:
    """Expert episodes, three cameras each."""
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
    return Clips(torch.from_numpy(np.stack(rgb)), torch.from_numpy(np.stack(depth)), DEPTH)


def _every_fourth_step(world: World, rng: np.random.Generator) -> Iterator[int]:
    """Let the expert act from a random moment on, and pause at the 9 frames of a clip."""
    expert = Expert(world, rng)
    for _ in range(int(rng.integers(0, expert.length - STRIDE * (FRAMES - 1)))):
        world.step(expert.targets(world))
    for frame in range(FRAMES):
        yield frame
        for _ in range(STRIDE):
            world.step(expert.targets(world))
