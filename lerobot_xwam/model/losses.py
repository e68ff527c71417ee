"""Prediction -> (loss, logs). One masked mean for every modality."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from .types import Latents, Prediction

EPS = 1e-8


@dataclass(frozen=True)
class LossWeights:
    video: float = 1.0
    actions: float = 1.0
    states: float = 1.0
    depth: float = 1.0
    spectrum: float = 0.0  # on the actions' Fourier spectrum over time; the paper does not use it


@dataclass(frozen=True)
class LossMasks:
    """What earns a loss. Booleans or 0/1; given values (first frame, first state) are False in `latents`."""

    latents: Latents  # broadcastable to the latents: not given, not padded, arm present
    sample: Tensor  # B: actions of this sample are noisy (clean ones teach nothing)
    depth: Tensor | None = None  # broadcastable to B C T V H W

    @property
    def of_actions(self) -> Tensor:
        return self.latents.actions * self.sample.view(-1, 1, 1)

    @property
    def of_states(self) -> Tensor:
        return self.latents.states * self.sample.view(-1, 1, 1)


@dataclass(frozen=True)
class LossDivisors:
    """What the sums of errors are divided by, per sample: counted once over the global batch, also when only
    a few of its samples pass through the network at a time.
    """

    video: Tensor
    actions: Tensor
    states: Tensor
    depth: Tensor | None
    noisy: Tensor  # ratio of samples whose actions are noisy

    @classmethod
    def count(cls, masks: LossMasks, latents: Latents, depth: Tensor | None) -> LossDivisors:
        """Of `latents` and `depth` only the shapes matter."""
        where = masks.depth
        if depth is not None and where is None:
            where = torch.ones((), dtype=torch.bool, device=depth.device)
        return cls(
            video=divisor(masks.latents.video, latents.video),
            actions=divisor(masks.of_actions, latents.actions),
            states=divisor(masks.of_states, latents.states),
            depth=None if depth is None or where is None else divisor(where, depth),
            noisy=mean_over_processes(masks.sample.float().mean()) + EPS / len(masks.sample),
        )


def divisor(mask: Tensor, errors: Tensor) -> Tensor:
    """sum(mask) / B + eps / B over the global batch. errors: B ..."""
    counted = mask.to(torch.float32).expand_as(errors).sum() / len(errors)
    return mean_over_processes(counted) + EPS / len(errors)


def xwam_loss(
    prediction: Prediction,
    velocity: Latents,
    clean_depth: Tensor | None,  # B C T V H W
    masks: LossMasks,
    weights: LossWeights,
    reduction: Literal["mean", "none"] = "mean",
    divisors: LossDivisors | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of the flow-matching losses and the depth regression.

    Every term is sum(mask * error) / sum(mask) over the whole batch. With reduction="none" a sample's loss is
    its own share of that sum times B, so that the mean over samples is the scalar loss exactly. `divisors`
    are those of the whole batch if these samples are only a part of it.
    """
    said, depth = prediction.velocity, clean_depth if prediction.depth is not None else None
    if divisors is None:
        divisors = LossDivisors.count(masks, velocity, depth)
    terms = {
        "video": masked_mean(said.video, velocity.video, masks.latents.video, divisors.video),
        "actions": masked_mean(said.actions, velocity.actions, masks.of_actions, divisors.actions),
        "states": masked_mean(said.states, velocity.states, masks.of_states, divisors.states),
    }
    if prediction.depth is not None and depth is not None and divisors.depth is not None:
        everywhere = torch.ones((), dtype=torch.bool, device=depth.device)
        where = everywhere if masks.depth is None else masks.depth
        terms["depth"] = masked_mean(prediction.depth, depth, where, divisors.depth)
    if weights.spectrum:
        terms["spectrum"] = spectrum_loss(said.actions, velocity.actions, masks.sample, divisors.noisy)

    factor = {field.name: getattr(weights, field.name) for field in fields(weights)}
    per_sample = torch.stack([factor[name] * term for name, term in terms.items()]).sum(dim=0)  # B
    means = torch.stack([term.detach().mean() for term in terms.values()]).tolist()  # one wait for the device
    logs = {f"loss_{name}": mean for name, mean in zip(terms, means, strict=True)}
    return (per_sample if reduction == "none" else per_sample.mean()), logs


def masked_mean(said: Tensor, wanted: Tensor, mask: Tensor, divided_by: Tensor) -> Tensor:
    """Each sample's share, times B, of sum(mask * (said - wanted)^2) / (sum(mask) + eps). -> B"""
    mask = mask.to(torch.float32).expand_as(said)
    return (mask * (said.float() - wanted.float()).square()).flatten(1).sum(dim=1) / divided_by


def mean_over_processes(value: Tensor) -> Tensor:
    """The count that normalises must be that of the global batch, or gradients would depend on the number of
    GPUs.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value


def spectrum_loss(said: Tensor, wanted: Tensor, sample: Tensor, divided_by: Tensor) -> Tensor:
    """Each noisy sample's share, times B, of the mean |FFT over time of (said - wanted)|. -> B

    As in the reference, absent arms are not masked here; leave its weight at 0 where that matters.
    """
    magnitude = torch.fft.rfft(said.float() - wanted.float(), dim=1).abs().flatten(1).mean(dim=1)
    return magnitude * sample / divided_by
