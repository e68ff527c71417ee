"""Acting while the robot moves: the start of a chunk is settled, what follows leans on the plan before it.

    actions of a chunk   | committed .......... | overlap ................. | free ........ |
    share of the plan    | 1: given, exact      | w falls from 1 to 0       | 0             |

committed  They will have been executed when the chunk arrives. They are *given* like the first frame: clean,
           time 0, no loss. The network takes a time per token, so nothing is approximated and no gradient is
           needed.
overlap    Still open, but jumps hurt. At every step the predicted clean action m becomes
           (1 - w) m + w p, with p the action of the plan. That is the posterior mean if p is believed up to
           a variance of s^2 (1 - w) / w, where s^2 is the network's own: the same share at every noise level.
           The last step of the solver ends on its predicted clean action, so this holds for what comes out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from .noise import CLOCK
from .schedule import Grid
from .types import Asked, Denoiser, Latents, Prediction, Times

Decay = Literal["linear", "exponential", "none"]
OF_ACTIONS = 2  # column of the actions' clock in `clock_times`


def draw_prefix_lengths(most: int, uniforms: Tensor) -> Tensor:
    """0 for every second sample, else 1..most, all equally likely. uniforms: B in [0, 1) -> B

    A chunk without a prefix is the hardest, and every episode begins with one: were it only one length among
    the others, a policy would hardly learn it.
    """
    return (2 * uniforms * most - most + 1).floor().long().clamp(min=0, max=most)


def give_prefix(given: Latents, lengths: Tensor) -> Latents:
    """`given` with the first `lengths` actions as well. lengths: B, or 1 for all samples alike"""
    position = torch.arange(given.actions.shape[1], device=given.actions.device)
    prefix = position[None, :, None] < lengths.to(position)[:, None, None]  # B K 1
    return replace(given, actions=given.actions | prefix)


def overlap_weights(committed: int, known: int, decay: Decay) -> Tensor:
    """The share of the plan in each of its `known` actions. -> known, float32"""
    weights = torch.zeros(known)
    weights[:committed] = 1
    if known > committed and decay != "none":
        falling = torch.linspace(1, 0, known - committed + 2)[1:-1]
        if decay == "exponential":
            falling = falling * torch.expm1(falling) / (math.e - 1)
        weights[committed:] = falling
    return weights


def noise_levels(times: Times, grid: Grid) -> Tensor:
    """The solver's exact noise level behind the whole number on the actions' clock, or 1 for 0. -> B

    Read off on the device: asking the host at every step would make it wait.
    """
    clock = times.levels[:, OF_ACTIONS, None]  # B 1
    shown = torch.tensor(grid.timesteps, dtype=clock.dtype, device=clock.device)  # n
    sigmas = torch.tensor(grid.sigmas[:-1], dtype=torch.float32, device=clock.device)
    return torch.where(clock[:, 0] > 0, sigmas[(clock - shown).abs().argmin(dim=1)], 1.0)


def leaning_on(denoise: Denoiser, plan: Tensor, weights: Tensor, grid: Grid) -> Denoiser:
    """The denoiser whose predicted clean actions lean on a plan. plan: B|1 K A, weights: K, the actions' grid

    Once the actions are clean (their clock shows 0) it is the denoiser itself.
    """
    share = weights[None, :, None].to(plan)  # 1 K 1

    def leaning(x: Latents, times: Times, asked: Asked) -> Prediction:
        said = denoise(x, times, asked)
        noisy = times.levels[:, OF_ACTIONS] > 0
        sigma = noise_levels(times, grid).view(-1, 1, 1)
        toward_plan = (x.actions - plan) / sigma  # the velocity that predicts the plan
        v = said.velocity.actions
        leant = torch.where(noisy.view(-1, 1, 1), v + share * (toward_plan - v), v)
        return replace(said, velocity=replace(said.velocity, actions=leant))

    return leaning


def time_of(times: Times) -> float:
    """The actions' time in [0, 1], of all samples."""
    return float(times.levels[0, OF_ACTIONS]) / CLOCK
