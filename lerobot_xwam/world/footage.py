"""RGB-D footage of all views, imagined or recorded, with states and actions in the robot's own units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Footage:
    """Frame 0 is the moment of acting. Pictures are the network's: resized and centre-cropped."""

    cameras: tuple[str, ...]  # V feature names
    rgb: NDArray[np.uint8]  # V F H W 3
    metres: Floats | None  # V F H W, along the optical axis; NaN where there is no reading
    states: Floats  # F P, robot units (predicted, where imagined)
    actions: Floats  # K A, robot units
    seconds: float  # between two frames
    name: str = ""  # what it shows: "truth", "seed 3", ...

    def __post_init__(self) -> None:
        views, frames = self.rgb.shape[:2]
        if self.rgb.ndim != 5 or self.rgb.shape[4] != 3 or views != len(self.cameras):
            raise ValueError(
                f"footage {self.name!r}: rgb of shape {self.rgb.shape}, wanted ({len(self.cameras)} views, "
                "frames, height, width, 3)"
            )
        if self.metres is not None and self.metres.shape != self.rgb.shape[:4]:
            raise ValueError(
                f"footage {self.name!r}: depth of shape {self.metres.shape} does not fit to rgb of shape "
                f"{self.rgb.shape}; wanted {self.rgb.shape[:4]}"
            )
        if len(self.states) != frames:
            raise ValueError(f"footage {self.name!r}: {len(self.states)} states for {frames} frames")

    @property
    def frames(self) -> int:
        return self.rgb.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        return self.rgb.shape[2], self.rgb.shape[3]

    @cached_property
    def times(self) -> Floats:
        """Seconds from the moment of acting.  # F"""
        return np.arange(self.frames, dtype=np.float32) * self.seconds

    def views(self, names: list[str]) -> list[int]:
        return [self.cameras.index(name) for name in names]

    def standing_still(self, name: str) -> Footage:
        """The baseline: the first frame, its depth and its state, for ever."""

        def hold(values: NDArray, axis: int) -> NDArray:
            return np.broadcast_to(np.take(values, [0], axis=axis), values.shape)

        metres = None if self.metres is None else hold(self.metres, 1)
        return replace(self, rgb=hold(self.rgb, 1), metres=metres, states=hold(self.states, 0), name=name)

    def with_depth(self, metres: Floats, name: str) -> Footage:
        """The same pictures with another depth, e.g. an estimator's."""
        return replace(self, metres=metres, name=name)
