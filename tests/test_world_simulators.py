"""True RGB-D of the simulators: the clouds of three views, one on the wrist, meet within millimetres."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lerobot_xwam.data.views import center_crop, resize
from lerobot_xwam.envs.tabletop.dataset import expert_episode
from lerobot_xwam.envs.tabletop.env import TabletopEnv
from lerobot_xwam.world.agreement import agreements
from lerobot_xwam.world.cloud import Filters, fuse
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.footage import Footage
from lerobot_xwam.world.found_cameras import find_rig, seen_in_rows
from lerobot_xwam.world.grid import Grid

GRID = Grid((64, 80), 0.95)


def as_seen(frames: list[np.ndarray], depth: bool) -> np.ndarray:
    """Through the policy's resize and crop. F of H W C -> F h w C"""
    stacked = torch.tensor(np.stack(frames)).double().movedim(-1, 1)
    seen = center_crop(resize(stacked, GRID.size, depth=depth), GRID.crop_ratio, depth=depth)
    return seen.movedim(1, -1).numpy()


@pytest.mark.parametrize(
    ("task", "names", "size"),
    [
        ("lift", ("front", "left", "wrist"), (64, 80)),
        ("lift_two_arms", ("front", "left", "wrist_right"), (96, 128)),
    ],
)
def test_three_views_meet_in_the_tabletop_world(
    task: str, names: tuple[str, ...], size: tuple[int, int]
) -> None:
    env = TabletopEnv(task, names, size=size, depth=True)
    seen: list[dict[str, Any]] = [observation for observation, _ in expert_episode(env, 3)][::9]
    cameras = tuple(f"observation.images.{name}" for name in names)
    rows = {
        f"observation.camera.{name}.{matrix}": np.stack([each[f"cam_{name}_{matrix}"] for each in seen])
        for name in names
        for matrix in ("intrinsics", "extrinsics")
    }
    states = np.stack([each["agent_pos"] for each in seen])
    effectors = effectors_of_layout(states)
    rig, refused = find_rig(seen_in_rows(rows, dict.fromkeys(cameras, size), cameras), effectors)
    assert not refused and rig.wrist(cameras) == [cameras[2]]
    assert rig.cameras[cameras[2]].arm == (0 if task == "lift" else 1)

    rgb = [as_seen([each["pixels"][name] for each in seen], depth=False) for name in names]
    metres = [as_seen([each[f"depth_{name}"] for each in seen], depth=True)[..., 0] for name in names]
    footage = Footage(
        cameras,
        np.stack(rgb).round().astype(np.uint8),
        np.stack(metres).astype(np.float32),
        states,
        np.zeros((1, 7), dtype=np.float32),
        0.1,
    )
    clouds = [fuse(footage, f, rig, GRID, effectors, Filters(far=2)) for f in range(len(seen))]
    for each in agreements(clouds, rig.static(cameras), rig.wrist(cameras)):
        assert each.good and each.median < 0.005, str(each)
