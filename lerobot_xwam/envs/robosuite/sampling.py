"""Where objects start: wide, apart, the same for the same seed. Imports robosuite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from robosuite.utils.placement_samplers import UniformRandomSampler

TABLE_TOP = (0.0, 0.0, 0.8)
CUBES_APART = 0.09  # between the cubes' centres (m): an open gripper fits beside either of them


@contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
    """Inside, numpy's global generator (robosuite's source) starts from the seed; outside nobody notices."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


class ApartSampler(UniformRandomSampler):
    """Places objects anywhere in its ranges, but no two closer than CUBES_APART."""

    def sample(self, fixtures: Any = None, reference: Any = None, on_top: bool = True) -> dict[str, Any]:
        """Draws until all are apart; one draw in six or so is not."""
        while True:
            placed = super().sample(fixtures, reference, on_top)
            spots = np.array([position[:2] for position, _, _ in placed.values()])
            gaps = np.linalg.norm(spots[:, None] - spots[None], axis=-1)
            if (gaps[np.triu_indices(len(spots), 1)] >= CUBES_APART).all():
                return placed


def cube_sampler() -> UniformRandomSampler:
    """Red and green cube: 24 by 32 cm in front of the arm, any heading."""
    return ApartSampler(
        name="ObjectSampler",
        x_range=(-0.12, 0.12),
        y_range=(-0.16, 0.16),
        rotation=None,
        ensure_object_boundary_in_range=False,
        reference_pos=TABLE_TOP,
        z_offset=0.0,
    )


def pot_sampler() -> UniformRandomSampler:
    """The pot: 12 by 12 cm between the arms, handles up to 60 degrees askew."""
    return UniformRandomSampler(
        name="ObjectSampler",
        x_range=(-0.06, 0.06),
        y_range=(-0.06, 0.06),
        rotation=(np.pi - np.pi / 3, np.pi + np.pi / 3),
        ensure_object_boundary_in_range=False,
        reference_pos=TABLE_TOP,
    )


def door_sampler() -> UniformRandomSampler:
    """The door on its little table: 5 by 6 cm, up to 15 degrees askew."""
    return UniformRandomSampler(
        name="ObjectSampler",
        x_range=(0.05, 0.10),
        y_range=(-0.03, 0.03),
        rotation=(-np.pi / 2 - 0.25, -np.pi / 2),
        ensure_object_boundary_in_range=False,
        reference_pos=(-0.2, -0.35, 0.8),
    )
