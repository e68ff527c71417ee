"""Which point of the recorded picture a pixel of the network's picture shows.

Frames are resized and centre-cropped on their way in (data/views.py). The geometry is not written a second
time here: a picture of its own coordinates goes the same way, and tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lerobot_xwam.data.views import center_crop, resize
from lerobot_xwam.space.rotations import Array

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Grid:
    """What happens to a frame before the network sees it."""

    size: Size  # of the network's picture
    crop_ratio: float

    def points(self, recorded: Size, *, depth: bool) -> Array:
        """(u, v) in the recorded picture, pixel centres at +0.5. Depth is sampled, RGB blended. -> H W 2"""
        u = torch.arange(recorded[1], dtype=torch.float64) + 0.5
        v = torch.arange(recorded[0], dtype=torch.float64) + 0.5
        picture = torch.stack([u.expand(recorded), v.unsqueeze(1).expand(recorded)])  # 2 H W
        seen = center_crop(resize(picture, self.size, depth=depth), self.crop_ratio, depth=depth)
        return seen.movedim(0, -1).numpy()

    def intrinsics(self, recorded_intrinsics: Array, recorded: Size) -> Array:
        """The pinhole matrix of the network's picture. 3 3 -> 3 3"""
        points = self.points(recorded, depth=False)
        height, width = self.size
        # Two pixels inside, where no edge holds the blending up: the map is affine.
        rows, columns = (height // 4, height * 3 // 4), (width // 4, width * 3 // 4)
        (u0, v0), (u1, v1) = points[rows[0], columns[0]], points[rows[1], columns[1]]
        across, down = (columns[1] - columns[0]) / (u1 - u0), (rows[1] - rows[0]) / (v1 - v0)
        back = np.array(
            [
                [across, 0.0, columns[0] + 0.5 - across * u0],
                [0.0, down, rows[0] + 0.5 - down * v0],
                [0.0, 0.0, 1.0],
            ]
        )
        return back @ recorded_intrinsics


def unproject(metres: Array, points: Array, intrinsics: Array) -> Array:
    """Depth along the axis -> points in the camera's frame. H W, H W 2, 3 3 -> H W 3"""
    x = (points[..., 0] - intrinsics[0, 2]) / intrinsics[0, 0] * metres
    y = (points[..., 1] - intrinsics[1, 2]) / intrinsics[1, 1] * metres
    return np.stack([x, y, metres], axis=-1)
