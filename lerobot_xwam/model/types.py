"""What travels between the parts of the model: frozen, with shapes on the fields.

Letters: B batch, C latent channels, T latent frames, V views, H W latent rows and columns,
K actions, A action width, S states, P state width, D distinct times, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Latents:
    """The three modalities that are denoised together: values, noise, velocities, or masks."""

    video: Tensor  # B C T V H W
    actions: Tensor  # B K A
    states: Tensor  # B S P

    def map(self, fn: Callable[..., Tensor], *others: Latents) -> Latents:
        """`fn(self.x, other.x, ...)` for every modality: one rule, never three pasted blocks."""
        return Latents(
            video=fn(self.video, *(other.video for other in others)),
            actions=fn(self.actions, *(other.actions for other in others)),
            states=fn(self.states, *(other.states for other in others)),
        )


@dataclass(frozen=True)
class Times:
    """The network's clock (1000 t, in [0, 1000]) of every token, kept as few values and an index.

    A forward of X-WAM knows at most three times: 0 for what is given, t_O for the video and t_a for
    actions and states. Keeping them apart lets the network embed three values instead of 761.
    """

    levels: Tensor  # B D          distinct clock values
    video: Tensor  # 1|B T V       index into D
    actions: Tensor  # 1|B K
    states: Tensor  # 1|B S


@dataclass(frozen=True)
class TextMemory:
    """Keys and values of the prompt for every block: computed once per prompt, read at every step."""

    trunk: tuple[tuple[Tensor, Tensor], ...]  # per block: (B heads text head_dim) twice
    depth: tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Prediction:
    """What the network says: velocities, and the clean depth latent if it was asked for."""

    velocity: Latents
    depth: Tensor | None = None  # B C T V H W


@dataclass(frozen=True)
class Draft:
    """A rollout on its way: after the action phase, actions and states are final, the video is not."""

    latents: Latents
    step: int  # network calls done
    solver: dict[str, tuple[Tensor, ...]]  # UniPC's memory, per modality
    depth: Tensor | None = None  # set once the last call has been made with depth

    @property
    def actions(self) -> Tensor:  # B K A
        return self.latents.actions

    @property
    def states(self) -> Tensor:  # B S P
        return self.latents.states


@dataclass(frozen=True)
class Rollout:
    """A finished imagination: everything clean."""

    latents: Latents
    depth: Tensor | None  # B C T V H W, clean depth latents of the last call


Denoiser = Callable[[Latents, Times, bool], Prediction]
"""(noisy latents, times, with depth?) -> prediction. The sampler knows the network only as this."""
