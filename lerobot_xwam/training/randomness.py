"""Randomness that belongs to a sample, not to a process.

Every sample of the global batch gets its own generator from one seed and its position. A run draws the same
noise on one GPU and on eight, and a checkpoint resumes exactly, because the seed comes from numpy's global
generator. LeRobot saves it like torch's, but a DataLoader draws from torch's whenever it starts: once more
often in a run that was resumed.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


def training_generators(batch: int) -> list[torch.Generator]:
    """One CPU generator per local sample. All processes draw the same seed: LeRobot seeds them alike."""
    seed = int(np.random.randint(2**62))
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    return [_generator(seed, rank * batch + i) for i in range(batch)]


def fixed_generators(identities: Tensor) -> list[torch.Generator]:
    """For validation: a sample's noise depends on its dataset index alone, so losses are comparable."""
    return [_generator(0, int(identity)) for identity in identities.tolist()]


def variant_generators(windows: list[int], variants: list[int], seed: int) -> list[torch.Generator]:
    """For cached latents: the augmentation of a window's k-th variant is the same whoever asks, whenever."""
    return [
        _generator(seed + variant * 0xD1B54A32D192ED03, window)
        for window, variant in zip(windows, variants, strict=True)
    ]


def rollout_generators(batch: int, seed: int | None) -> list[torch.Generator]:
    """One generator per rollout of a batch; `seed` None follows the global seed."""
    base = int(torch.randint(2**62, ())) if seed is None else seed
    return [_generator(base, i) for i in range(batch)]


def uniforms(count: int, generators: list[torch.Generator]) -> Tensor:
    """`count` numbers in [0, 1) from each generator. -> B count"""
    return torch.stack([torch.rand(count, generator=generator) for generator in generators])


def _generator(seed: int, position: int) -> torch.Generator:
    # A large odd stride keeps the streams of neighbouring seeds and positions apart.
    return torch.Generator().manual_seed((seed + position * 0x9E3779B97F4A7C15) % 2**63)
