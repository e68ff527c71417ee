"""Toy worlds, datasets and policies that many tests share. A dataset is written once per session.

Not called `datasets.py`: that would hide the Hugging Face library of this name from everything under test.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.factory import make_policy, make_pre_post_processors
from torch import Tensor

from lerobot_xwam import XWAMConfig
from lerobot_xwam.envs.tabletop.dataset import write_dataset
from lerobot_xwam.modeling_xwam import XWAMPolicy

# A policy of 80 thousand parameters: two latent frames of 2x3 tokens per view, 16 actions, 5 states.
SMALL: dict[str, Any] = {
    "preset": "tiny",
    "device": "cpu",
    "push_to_hub": False,
    "height": 32,
    "width": 48,
    "num_frames": 5,
    "dim": 32,
    "ffn_dim": 64,
    "heads": 2,
    "blocks": 2,
    "depth_blocks": 1,
    "time_dim": 16,
    "video_steps": 3,
    "action_steps": 2,
}


@dataclass(frozen=True)
class World:
    """Which dataset to write."""

    cameras: tuple[str, ...] = ("front",)
    depth: bool = False
    interface: str = "native"
    task: str = "lift"
    seed: int = 0
    episodes: int = 2
    size: tuple[int, int] = (48, 64)  # not the network's size

    @property
    def name(self) -> str:
        depth = "depth" if self.depth else "rgb"
        return f"{self.task}-{'-'.join(self.cameras)}-{depth}-{self.interface}-{self.seed}"


ONE_CAMERA = World()
THREE_CAMERAS = World(cameras=("wrist", "front", "left"), depth=True, interface="ee")
OTHER_SCENES = World(cameras=("wrist", "front", "left"), depth=True, interface="ee", seed=100)
TWO_ARMS = World(cameras=("front",), interface="ee", task="lift_two_arms")


@cache
def dataset_root(world: World) -> Path:
    """The folder of a world's dataset; conftest.py removes it at the end."""
    return write_dataset(
        Path(os.environ["HF_LEROBOT_HOME"]) / "toys" / world.name,
        episodes=world.episodes,
        cameras=world.cameras,
        size=world.size,
        interface=world.interface,
        depth=world.depth,
        task=world.task,
        seed=world.seed,
        progress=False,
    )


def metadata(world: World) -> LeRobotDatasetMetadata:
    return LeRobotDatasetMetadata("local/toy", root=dataset_root(world))


def open_dataset(world: World, config: XWAMConfig) -> LeRobotDataset:
    """The dataset with the frames that the policy asks for, as lerobot-train opens it."""
    meta = metadata(world)
    deltas = {
        key: config.action_delta_indices if key == "action" else config.observation_delta_indices
        for key in meta.features
        if key == "action" or key.startswith("observation.")
    }
    seconds = {key: [index / meta.fps for index in indices] for key, indices in deltas.items()}
    return LeRobotDataset(
        "local/toy", root=dataset_root(world), delta_timestamps=seconds, video_backend="pyav"
    )


@dataclass
class Toy:
    """A policy as lerobot-train makes it, with its processors and data."""

    policy: XWAMPolicy
    pre: Any
    post: Any
    dataset: LeRobotDataset

    def raw(self, indices: Iterable[int]) -> dict[str, Any]:
        """A collated batch of the dataset."""
        return torch.utils.data.default_collate([self.dataset[index] for index in indices])

    def batch(self, indices: Iterable[int] = (0, 20)) -> dict[str, Any]:
        """A packed batch."""
        return self.pre(self.raw(indices))

    def observation(self, index: int = 0) -> dict[str, Any]:
        """What the robot saw at this frame, as it comes when acting: no time axis, no action."""
        return first_frame(self.dataset[index])


def first_frame(item: dict[str, Any]) -> dict[str, Any]:
    seen = {k: v[0] for k, v in item.items() if k.startswith("observation.") and not k.endswith("is_pad")}
    return {**seen, "task": item["task"]}


def make_toy(world: World, **settings: Any) -> Toy:
    config = XWAMConfig(**{**SMALL, **settings})
    dataset = open_dataset(world, config)
    policy = make_policy(config, ds_meta=dataset.meta)
    pre, post = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    return Toy(policy, pre, post, dataset)


# --- without a dataset on disk ---


def vector(dims: int, kind: FeatureType) -> PolicyFeature:
    return PolicyFeature(type=kind, shape=(dims,))


def small_config(
    cameras: Iterable[str] = ("front",),
    state: int = 6,
    action: int = 5,
    depth_of: Iterable[str] = (),
    **settings: Any,
) -> XWAMConfig:
    """A configuration with its features filled in, as after reading a dataset."""
    colour, depth = (PolicyFeature(type=FeatureType.VISUAL, shape=(c, 40, 56)) for c in (3, 1))
    inputs = {f"observation.images.{name}": colour for name in cameras}
    inputs |= {f"observation.images.{name}_depth": depth for name in depth_of}
    return XWAMConfig(
        input_features={**inputs, "observation.state": vector(state, FeatureType.STATE)},
        output_features={"action": vector(action, FeatureType.ACTION)},
        depth_features=[f"observation.images.{name}_depth" for name in depth_of],
        **{**SMALL, "interface": "native", **settings},
    )


def random_frames(config: XWAMConfig, batch: int = 2, seed: int = 0) -> dict[str, Any]:
    """A collated training batch of noise for `small_config`, before packing."""
    generator = torch.Generator().manual_seed(seed)
    images = {
        key: torch.rand(batch, config.num_frames, 3, 40, 56, generator=generator) for key in config.cameras
    }
    state, action = config.robot_state_feature.shape[0], config.action_feature.shape[0]
    depths = {
        key: 300 + 1500 * torch.rand(batch, config.num_frames, 1, 40, 56, generator=generator)  # millimetres
        for key in config.depth_features
    }
    return {
        **images,
        **depths,
        "observation.state": torch.randn(batch, config.num_frames, state, generator=generator),
        "observation.state_is_pad": torch.zeros(batch, config.num_frames, dtype=torch.bool),
        "action": torch.randn(batch, config.chunk_size, action, generator=generator),
        "action_is_pad": torch.zeros(batch, config.chunk_size, dtype=torch.bool),
        "task": ["lift the cube"] * batch,
        "index": torch.arange(batch) + 10 * seed,
    }


def pack(config: XWAMConfig, frames: dict[str, Any]) -> dict[str, Any]:
    pre, _ = make_pre_post_processors(config)
    return pre(frames)


def packed_batch(config: XWAMConfig, batch: int = 2, seed: int = 0) -> dict[str, Any]:
    return pack(config, random_frames(config, batch, seed))


def wake_up(policy: XWAMPolicy) -> XWAMPolicy:
    """Fresh output heads are zero, which would hide what the network does: give them numbers."""
    net = policy.net
    heads = [net.video_head.out, net.action_out[-1], net.state_out[-1]]
    with torch.no_grad():
        for head in heads + ([net.depth_head.out] if net.depth_blocks else []):
            torch.nn.init.normal_(head.weight, std=0.1)
    return policy


def copies(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in parameters}
