"""Depth in metres as colours, near warm and far cold, and the scale that says which is which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lerobot_xwam.pictures import NEAR_TO_FAR
from lerobot_xwam.world.footage import Floats

Pixels = NDArray[np.uint8]
NOTHING = (24, 24, 28)  # where there is no reading
BAR = 30  # pixels high, with its numbers
STEPS = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)  # metres between two numbers


@dataclass(frozen=True)
class DepthScale:
    near: float  # metres
    far: float

    @classmethod
    def of(cls, depths: Iterable[Floats]) -> DepthScale:
        """So that nearly everything that was read has a colour of its own."""
        read = [metres[np.isfinite(metres) & (metres > 0)] for metres in depths]
        values = np.concatenate(read) if read else np.empty(0)
        if not values.size:
            return cls(0.1, 5.0)
        low, high = np.quantile(values, [0.01, 0.99])
        return cls(float(low), float(max(high, low * 1.05, low + 0.01)))

    def colours(self, metres: Floats | NDArray[np.float64]) -> Pixels:
        """Evenly in the logarithm. ... -> ... 3"""
        good = np.isfinite(metres) & (metres > 0)
        share = np.log(np.where(good, metres, self.near) / self.near) / np.log(self.far / self.near)
        position = share.clip(0, 1)[..., None] * (len(NEAR_TO_FAR) - 1)
        low = np.clip(position.astype(int), 0, len(NEAR_TO_FAR) - 2)
        first, second = NEAR_TO_FAR[low[..., 0]], NEAR_TO_FAR[low[..., 0] + 1]
        mixed = first + (second - first) * (position - low)
        return np.where(good[..., None], mixed.round(), NOTHING).astype(np.uint8)

    def bar(self, width: int) -> Pixels:
        """A strip with metres under it. -> BAR width 3"""
        strip = Image.new("RGB", (width, BAR), (20, 20, 24))
        pen = ImageDraw.Draw(strip)
        left, right = 14, width - 44
        metres = np.geomspace(self.near, self.far, max(right - left, 2))
        strip.paste(Image.fromarray(np.repeat(self.colours(metres)[None], 11, axis=0)), (left, 3))
        last = -100.0
        for value in [*self._marks(), self.far]:
            share = np.log(value / self.near) / np.log(self.far / self.near)
            place = left + share * (right - left - 1)
            if place - last < 34 or (value != self.far and right - place < 34):
                continue
            pen.line([(place, 14), (place, 17)], fill=(230, 230, 230))
            unit = " m" if value == self.far else ""
            pen.text((place - 8, 17), f"{value:.2f}{unit}", fill=(230, 230, 230))
            last = place
        return np.asarray(strip)

    def _marks(self) -> list[float]:
        """Round numbers inside the range."""
        step = next((each for each in STEPS if (self.far - self.near) / each <= 10), STEPS[-1])
        first = int(np.ceil(self.near / step))
        return [
            self.near,
            *(i * step for i in range(first, int(self.far / step) + 1) if i * step > self.near),
        ]
