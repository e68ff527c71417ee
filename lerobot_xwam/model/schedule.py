"""The grid of noise levels, and UniPC: order 2, "bh2", predicting the data, for flow matching.

Every step of the solver is linear in what is known, so each is a handful of numbers that depend on the grid
alone. They are computed once, in float64 on the host; a step on the device is one weighted sum.

Notation: sigma = noise level, alpha = 1 - sigma, lambda = log(alpha / sigma); m = predicted clean data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .noise import CLOCK

Memory = tuple[Tensor, ...]  # (previous corrected sample, m of the previous step, m of the step before)


@dataclass(frozen=True)
class Grid:
    """n steps from noise to data: n + 1 levels, and the n whole clock values that the network is shown."""

    sigmas: tuple[float, ...]
    timesteps: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.timesteps)


@lru_cache(maxsize=32)
def flow_grid(steps: int, shift: float) -> Grid:
    """sigma from 0.999 to 0, shifted toward noise, the last exactly 0. Clock values are truncated."""
    if steps < 1:
        raise ValueError(f"{steps} denoising steps: at least one is needed")
    top = np.float32(1) - np.float32(1 / CLOCK)  # float32 on purpose: 0.99900001, as the reference has it
    raw = np.linspace(top, 0.0, steps + 1, dtype=np.float64)[:-1].astype(np.float32)
    sigmas = np.float32(shift) * raw / (1 + np.float32(shift - 1) * raw)
    timesteps = (sigmas.astype(np.float32) * np.float32(CLOCK)).astype(np.int64)
    return Grid(sigmas=(*(float(s) for s in sigmas), 0.0), timesteps=tuple(int(t) for t in timesteps))


@dataclass(frozen=True)
class Step:
    """Weights of one solver step, applied to tensors known at that moment.

    correct  re-does the previous step knowing what the network says at its end: (sample, m1, m2, m) -> sample
    predict  goes on from there: (sample, m, m1) -> next sample
    """

    sigma: float
    correct: tuple[float, float, float, float] | None
    predict: tuple[float, float, float]


@lru_cache(maxsize=32)
def unipc_steps(grid: Grid) -> tuple[Step, ...]:
    lam = [_log_snr(sigma) for sigma in grid.sigmas]
    n = len(grid)
    steps = []
    for i in range(n):
        order_before = min(2, i)  # the order of the step that led here
        order = min(2, i + 1, n - i)
        steps.append(
            Step(
                sigma=grid.sigmas[i],
                correct=_corrector(grid.sigmas, lam, i, order_before) if i else None,
                predict=_predictor(grid.sigmas, lam, i, order),
            )
        )
    return tuple(steps)


def unipc_step(sample: Tensor, velocity: Tensor, memory: Memory, step: Step) -> tuple[Tensor, Memory]:
    """One step toward the data. -> (next sample, memory for the step after)"""
    m = sample - step.sigma * velocity
    m1 = memory[1] if len(memory) > 1 else m
    m2 = memory[2] if len(memory) > 2 else m1
    if step.correct is not None:
        sample = _combine(step.correct, (memory[0], m1, m2, m))
    following = _combine(step.predict, (sample, m, m1))
    return following, (sample, m, m1)


def _combine(weights: tuple[float, ...], tensors: tuple[Tensor, ...]) -> Tensor:
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        if weight:
            total = torch.add(total, tensor, alpha=weight)
    return total


def _log_snr(sigma: float) -> float:
    return math.inf if sigma == 0 else math.log(1 - sigma) - math.log(sigma)


def _predictor(sigmas: tuple[float, ...], lam: list[float], i: int, order: int) -> tuple[float, float, float]:
    """Weights of (sample_i, m_i, m_{i-1}) in sample_{i+1}."""
    alpha, ratio = 1 - sigmas[i + 1], sigmas[i + 1] / sigmas[i]
    h = lam[i + 1] - lam[i]
    phi = math.expm1(-h)
    on_m, on_m1 = -alpha * phi, 0.0
    if order == 2:
        r = (lam[i - 1] - lam[i]) / h
        difference = -alpha * phi * 0.5 / r  # weight of (m_{i-1} - m_i)
        on_m, on_m1 = on_m - difference, difference
    return ratio, on_m, on_m1


def _corrector(
    sigmas: tuple[float, ...], lam: list[float], i: int, order: int
) -> tuple[float, float, float, float]:
    """Weights of (sample_{i-1}, m_{i-1}, m_{i-2}, m_i) in the corrected sample_i."""
    alpha, ratio = 1 - sigmas[i], sigmas[i] / sigmas[i - 1]
    h = lam[i] - lam[i - 1]
    phi = math.expm1(-h)
    rho_old, rho_new = 0.0, 0.5
    r = 1.0
    if order == 2:
        r = (lam[i - 2] - lam[i - 1]) / h
        b1 = (phi / -h - 1) / phi
        b2 = 2 * ((phi / -h - 1) / -h - 0.5) / phi
        rho_old, rho_new = np.linalg.solve([[1.0, 1.0], [r, 1.0]], [b1, b2]).tolist()
    on_old, on_new = -alpha * phi * rho_old / r, -alpha * phi * rho_new
    return ratio, -alpha * phi - on_old - on_new, on_old, on_new
