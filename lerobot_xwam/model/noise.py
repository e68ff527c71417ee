"""Time and noise. t = 0 is data, t = 1 is noise; the network's clock shows 1000 t.

Which values are *given* (the first frame, the first state, a known action prefix) is said by a mask with the
shape of the latents: given values stay clean, carry time 0 and earn no loss. Everything else follows from it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .types import Latents, Times

CLOCK = 1000.0  # the network sees CLOCK * t

NoiseLaw = Literal["ans", "decoupled", "synchronous"]
TimeLaw = Literal["uniform", "beta"]


def shift_times(t: Tensor, shift: float) -> Tensor:
    """Bend times toward noise: t' = s t / (1 + (s - 1) t). Keeps 0 and 1."""
    return shift * t / (1 + (shift - 1) * t)


def beta_from_uniform(u: Tensor) -> Tensor:
    """Beta(1.5, 1) by its inverse distribution function, F(b) = b^1.5."""
    return u ** (1 / 1.5)


def draw_times(
    batch: int,
    *,
    law: NoiseLaw = "ans",
    clean_action_ratio: float = 0.5,
    time_law: TimeLaw = "uniform",
    shift: float = 5.0,
    uniforms: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Training times (t_O, t_a), each [B], after the shift. States share t_a.

    ans          with `clean_action_ratio`: t_a = 0, t_O ~ U; else t_a ~ U, t_O = t_a + (1 - t_a) Beta(1.5, 1)
    decoupled    t_O and t_a independent
    synchronous  one time for both, uniform or Beta(1.5, 1)

    `uniforms` [B, 3] in [0, 1) is the randomness; passing it in makes the draw repeatable per sample.
    """
    u = torch.rand(batch, 3) if uniforms is None else uniforms
    first, second, coin = u.unbind(-1)
    if law == "ans":
        clean = coin < clean_action_ratio
        t_action = torch.where(clean, torch.zeros_like(first), first)
        t_video = torch.where(clean, second, first + (1 - first) * beta_from_uniform(second))
    elif law == "decoupled":
        t_video, t_action = first, second
    elif law == "synchronous":
        t_video = t_action = beta_from_uniform(first) if time_law == "beta" else first
    else:
        raise ValueError(f"noise law {law!r} is unknown: use 'ans', 'decoupled' or 'synchronous'")
    return shift_times(t_video, shift), shift_times(t_action, shift)


def given_first(
    latents: Latents, *, video_views: int | None = None, video_channels: int | None = None
) -> Latents:
    """The mask of what every X-WAM forward is told: frame 0 and state 0. True = given.

    Where depth travels inside the video (as further views or channels), only the first `video_views` /
    `video_channels` are given: a robot need not own a depth sensor.
    """
    _, channels, frames, views, _, _ = latents.video.shape
    device = latents.video.device
    video = torch.zeros(1, channels, frames, views, 1, 1, dtype=torch.bool, device=device)
    video[:, :video_channels, 0, :video_views] = True
    actions = torch.zeros(1, latents.actions.shape[1], 1, dtype=torch.bool, device=device)
    states = torch.zeros(1, latents.states.shape[1], 1, dtype=torch.bool, device=device)
    states[:, 0] = True
    return Latents(video, actions, states)


def clock_times(t_video: Tensor, t_action: Tensor, given: Latents) -> Times:
    """Three clock values (given, t_O, t_a; each [B], in clock units) spread over the tokens by the mask.

    A video token is given only if all of its channels are.
    """
    levels = torch.stack([torch.zeros_like(t_video), t_video, t_action], dim=-1)  # B 3
    video_given = given.video.all(dim=1)[..., 0, 0]  # 1|B T V
    return Times(
        levels=levels,
        video=torch.where(video_given, 0, 1),
        actions=torch.where(given.actions[..., 0], 0, 2),
        states=torch.where(given.states[..., 0], 0, 2),
    )


def times_per_token(video: Tensor, actions: Tensor, states: Tensor) -> Times:
    """A clock value for every frame [B T], action [B K] and state [B S]: the general case."""
    frames, n_actions, n_states = video.shape[1], actions.shape[1], states.shape[1]
    index = torch.arange(frames + n_actions + n_states, device=video.device)
    of_video, of_actions, of_states = index.split([frames, n_actions, n_states])
    return Times(
        levels=torch.cat([video, actions, states], dim=1),
        video=of_video[None, :, None],
        actions=of_actions[None],
        states=of_states[None],
    )


def add_noise(clean: Latents, noise: Latents, t_video: Tensor, t_action: Tensor, given: Latents) -> Latents:
    """x_t = (1 - t) x_0 + t eps, with given values left clean. Times [B] in [0, 1]."""

    def blend(x: Tensor, eps: Tensor, t: Tensor, keep: Tensor) -> Tensor:
        t = t.view(-1, *[1] * (x.dim() - 1)).to(x.dtype)
        return torch.where(keep, x, (1 - t) * x + t * eps)

    return Latents(
        video=blend(clean.video, noise.video, t_video, given.video),
        actions=blend(clean.actions, noise.actions, t_action, given.actions),
        states=blend(clean.states, noise.states, t_action, given.states),
    )


def velocity(clean: Latents, noise: Latents) -> Latents:
    """The target of flow matching: eps - x_0."""
    return clean.map(lambda x, eps: eps - x, noise)


def draw_noise(latents: Latents, generators: list[torch.Generator]) -> Latents:
    """Standard normal noise in the shapes of `latents`, one generator per sample.

    The order within a sample is part of the contract: video, actions, states.
    """

    def draw(like: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(
            (1, *like.shape[1:]), generator=generator, device=generator.device, dtype=torch.float32
        )
        return noise.to(like.device)

    samples = [latents.map(lambda x, g=generator: draw(x, g)) for generator in generators]
    return Latents(
        video=torch.cat([sample.video for sample in samples]),
        actions=torch.cat([sample.actions for sample in samples]),
        states=torch.cat([sample.states for sample in samples]),
    )
