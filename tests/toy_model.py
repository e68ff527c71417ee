"""A toy network and toy inputs for the tests of the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lerobot_xwam.model.noise import clock_times, given_first
from lerobot_xwam.model.sampler import Plan
from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.model.types import Latents, Times

torch.set_num_threads(1)  # on busy cores a second thread makes toy operations many times slower

SIZES = TransformerSizes(
    dim=24,
    ffn_dim=40,
    heads=2,
    blocks=3,
    depth_blocks=2,
    channels=4,
    views=8,
    action_dim=5,
    state_dim=6,
    text_dim=10,
    time_dim=8,
)
PLAN = Plan(video_steps=5, action_steps=2, depth=True)


def toy_network() -> XWAMTransformer:
    """No zero head, no unit norm: everything has its say."""
    network = XWAMTransformer(SIZES)
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    return network.eval()


def some_latents(
    batch: int = 2, views: int = 2, frames: int = 2, actions: int = 16, states: int = 5
) -> Latents:
    return Latents(
        video=torch.randn(batch, SIZES.channels, frames, views, 4, 4),
        actions=torch.randn(batch, actions, SIZES.action_dim),
        states=torch.randn(batch, states, SIZES.state_dim),
    )


def some_text(batch: int = 2, tokens: int = 3) -> Tensor:
    return torch.randn(batch, tokens, SIZES.text_dim)


def some_times(x: Latents) -> Times:
    batch = len(x.actions)
    return clock_times(1000 * torch.rand(batch), 1000 * torch.rand(batch), given_first(x))


def equal(a: Latents, b: Latents) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("video", "actions", "states"))


def close(a: Latents, b: Latents, tolerance: float = 1e-5) -> bool:
    names = ("video", "actions", "states")
    return all(torch.allclose(getattr(a, n), getattr(b, n), atol=tolerance, rtol=tolerance) for n in names)


class Count:
    """How often a module was called."""

    def __init__(self, module: nn.Module) -> None:
        self.calls = 0
        module.register_forward_pre_hook(lambda *_: setattr(self, "calls", self.calls + 1))
