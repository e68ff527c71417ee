"""A policy whose best network is known in closed form, so that nothing depends on how long it was trained.

Its motions are smooth random ones (a Gaussian process, Matern 5/2) that begin where the arm is: the place is
seen, the speed is not, and any direction is as good as another. For these the mean of the clean actions given
noisy ones, at any mixture of times per token, is a linear regression. Everything else is the policy as it
ships: processors, prefix and leaning, solver, codecs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from torch import Tensor

from lerobot_xwam import XWAMConfig
from lerobot_xwam.data.batch import Observation
from lerobot_xwam.imagination import Imagination
from lerobot_xwam.model.noise import CLOCK
from lerobot_xwam.model.prefix import noise_levels
from lerobot_xwam.model.schedule import flow_grid
from lerobot_xwam.model.types import Asked, Latents, Prediction, Times
from lerobot_xwam.modeling_xwam import XWAMPolicy
from rtc_loop.driving import EXECUTED, Pilot

JOINTS = 5
LOW = torch.tensor([-0.9, 0.22, 0.08, -0.8, 0.3])  # base (rad), reach, height (m), wrist (rad), gripper
HIGH = torch.tensor([0.9, 0.5, 0.3, 0.8, 1.0])
SPREAD, LENGTH = 0.45, 10.0  # of the motions: standard deviation (half a range is 1), control steps
SEEN = 0.02  # how exactly the arm stands where it was sent: its servos lag
STEPS = 10  # of the solver
SHIFT = 5.0


def known_pilot() -> Pilot:
    """Drives one mock arm with one camera."""
    config = XWAMConfig(
        preset="tiny",
        device="cpu",
        push_to_hub=False,
        interface="native",
        depth="none",
        height=32,
        width=48,
        state_width=JOINTS,
        action_width=JOINTS,
        dim=32,
        ffn_dim=64,
        heads=2,
        blocks=1,
        time_dim=16,
        video_steps=STEPS,
        action_steps=STEPS,
        time_shift=SHIFT,
        action_guard="finite",
        input_features={
            "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, 64, 80)),
            "observation.state": PolicyFeature(FeatureType.STATE, (JOINTS,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (JOINTS,))},
    )
    config.rtc_config = RTCConfig(execution_horizon=config.chunk_size - EXECUTED)
    numbers = {
        name: value.numpy() for name, value in (("q01", LOW), ("q99", HIGH), ("min", LOW), ("max", HIGH))
    }
    processors = make_pre_post_processors(
        config, dataset_stats={"observation.state": numbers, "action": numbers}
    )
    return Pilot(KnownPolicy(config).eval(), *processors, LOW, HIGH, "wander")


class KnownPolicy(XWAMPolicy):
    """The policy, with what a network would say at best in the place of the network."""

    def imagine(self, observation: Observation, noise: Latents | None = None) -> Imagination:
        return replace(super().imagine(observation, noise), denoise=best_denoiser)


def best_denoiser(x: Latents, times: Times, asked: Asked) -> Prediction:
    """E[clean actions | noisy actions, where the arm is]."""
    rows = x.actions.shape[1]
    levels = times.levels[0, times.actions.expand(len(x.actions), -1)[0]].double() / CLOCK  # K
    keep = torch.cat([torch.ones(1), 1 - levels])  # the arm itself, then its actions
    doubt = torch.cat([torch.tensor([SEEN**2]), levels**2 + 1e-6])
    smooth = _covariance(rows + 1)
    known = torch.cat([x.states[:, :1, :JOINTS], x.actions], dim=1).double()  # B 1+K A
    mean = smooth * keep @ torch.linalg.solve(keep[:, None] * smooth * keep + torch.diag(doubt), known)
    sigma = noise_levels(times, flow_grid(STEPS, SHIFT)).double().view(-1, 1, 1)
    velocity = ((x.actions.double() - mean[:, 1:]) / sigma).float()
    return Prediction(Latents(torch.zeros_like(x.video), velocity, torch.zeros_like(x.states)))


def _covariance(rows: int) -> Tensor:
    apart = (torch.arange(rows)[:, None] - torch.arange(rows)).abs().double() * 5**0.5 / LENGTH
    return SPREAD**2 * (1 + apart + apart**2 / 3) * torch.exp(-apart)


def motions(count: int, steps: int, seed: int) -> list[Any]:
    """Of the same kind, without chunks. -> count times T A, in units of the range"""
    generator = torch.Generator().manual_seed(seed)
    root = torch.linalg.cholesky(_covariance(steps) + 1e-9 * torch.eye(steps))
    drawn = root @ torch.randn(count, steps, JOINTS, generator=generator, dtype=torch.float64)
    return [(each / 2).numpy() for each in drawn]
