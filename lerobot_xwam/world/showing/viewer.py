"""What the page's viewer turns: clouds small enough for a page, cameras as pyramids, the arms' ways."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.space.rotations import Array
from lerobot_xwam.world.cloud import Cloud
from lerobot_xwam.world.footage import Footage

from .exhibition import Exhibition

MOST = 30_000  # points of one cloud
ALL = 2_500_000  # points of one page: 9 bytes each
STEPS = 32_767  # of a coordinate on each side of the middle
FRUSTUM = 0.06  # metres that a camera's pyramid is deep
ARM_AXIS = 0.05  # metres
FROM = np.array([1.0, 0.5, 0.8])  # the middle is looked at, if no camera stands still
TRUTH, FUTURES, STILL = "#2e9d5b", ("#e0701a", "#3f72dc", "#a94fc0", "#b59410"), "#98a1b0"


@dataclass(frozen=True)
class Grid:
    """Coordinates as small whole numbers."""

    middle: NDArray[np.float64]  # 3
    step: float  # metres

    @classmethod
    def of(cls, clouds: list[Cloud]) -> Grid:
        points = np.concatenate([cloud.points for cloud in clouds])
        if not len(points):
            return cls(np.zeros(3), 0.001)
        low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
        return cls((low + high) / 2, max(float((high - low).max()) / 2 / STEPS, 1e-6))

    def pack(self, points: NDArray[np.float32]) -> str:
        steps = ((points - self.middle) / self.step).round().clip(-STEPS, STEPS)
        return _text(steps.astype("<i2"))


def share_of_points(clouds: dict[str, list[Cloud]]) -> float:
    """How many of the points a page can hold."""
    every = [len(cloud.points) for frames in clouds.values() for cloud in frames]
    return min(1.0, MOST / max([1, *every]), ALL / max(1, sum(every)))


def viewer_data(exhibition: Exhibition, clouds: dict[str, list[Cloud]]) -> dict[str, Any]:
    """As templates/report.js wants it; no worlds, if there is nothing to turn."""
    every = [cloud for frames in clouds.values() for cloud in frames]
    if not any(len(cloud.points) for cloud in every):
        return {"worlds": [], "frames": exhibition.frames, "seconds": exhibition.futures[0].seconds}
    grid, share = Grid.of(every), share_of_points(clouds)
    worlds = [
        _world(exhibition, footage, clouds[footage.name], grid, share, colour)
        for footage, colour in zip(exhibition.footages, colours(exhibition), strict=True)
        if footage.name in clouds
    ]
    return {
        "frames": exhibition.frames,
        "seconds": exhibition.futures[0].seconds,
        "grid": {"middle": grid.middle.tolist(), "step": grid.step},
        "spacing": _spacing(exhibition) / share**0.5,
        "view": _view(exhibition, clouds),
        "worlds": worlds,
    }


def colours(exhibition: Exhibition) -> list[str]:
    """One per footage."""
    futures = [FUTURES[i % len(FUTURES)] for i in range(len(exhibition.futures))]
    return futures if exhibition.truth is None else [TRUTH, *futures]


def _world(
    exhibition: Exhibition, footage: Footage, clouds: list[Cloud], grid: Grid, share: float, colour: str
) -> dict[str, Any]:
    effectors = exhibition.effectors(footage)
    poses = [exhibition.camera_poses(footage, camera) for camera in footage.cameras]
    frames = []
    for frame, cloud in enumerate(clouds):
        kept = np.linspace(0, len(cloud.points) - 1, int(len(cloud.points) * share)).round().astype(int)
        pyramids = [
            _pyramid(pose[frame], exhibition.intrinsics(camera), footage.size)
            for pose, camera in zip(poses, footage.cameras, strict=True)
            if pose is not None
        ]
        frames.append(
            {
                "points": grid.pack(cloud.points[kept]),
                "colours": _text(cloud.colours[kept]),
                "cameras": pyramids,
                "arms": [] if effectors is None else [_axes(pose) for pose in effectors[frame]],
            }
        )
    ways = [] if effectors is None else effectors[:, :, :3, 3].swapaxes(0, 1).round(4).tolist()
    return {
        "name": footage.name,
        "truth": footage is exhibition.truth,
        "colour": colour,
        "frames": frames,
        "ways": ways,
    }


def _pyramid(pose: Array, intrinsics: Array | None, size: tuple[int, int]) -> list[list[float]]:
    """Eye and four corners, in the room. -> 5 3"""
    assert intrinsics is not None
    height, width = size
    rim = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=np.float64)
    corners = np.vstack([np.zeros(3), FRUSTUM * rim @ np.linalg.inv(intrinsics).T])
    return (corners @ pose[:3, :3].T + pose[:3, 3]).round(4).tolist()


def _axes(pose: Array) -> list[list[float]]:
    """Middle and the ends of x, y and z. -> 4 3"""
    ends = np.vstack([np.zeros(3), ARM_AXIS * np.eye(3)])
    return (ends @ pose[:3, :3].T + pose[:3, 3]).round(4).tolist()


def _spacing(exhibition: Exhibition) -> float:
    """Metres between neighbouring points, as far as the median point is away."""
    spacings = []
    for camera in exhibition.cameras:
        k = exhibition.intrinsics(camera)
        for footage in exhibition.footages:
            if k is not None and footage.metres is not None:
                metres = footage.metres[footage.cameras.index(camera)]
                read = metres[np.isfinite(metres) & (metres > 0)]
                if read.size:
                    spacings.append(float(np.median(read)) / k[0, 0])
    return max(spacings, default=0.01)


def _view(exhibition: Exhibition, clouds: dict[str, list[Cloud]]) -> dict[str, Any]:
    """Over the shoulder of the cameras that stand still, at the middle of what they see now: of all that is
    imagined, the first frame is the most certain.
    """
    points = next(frames[0].points for frames in clouds.values() if frames)
    if not len(points):
        points = np.concatenate([cloud.points for frames in clouds.values() for cloud in frames])
    middle = np.median(points, axis=0).astype(np.float64)
    rig = exhibition.scene.rig
    assert rig is not None
    eyes = [rig.cameras[camera].pose[:3, 3] for camera in rig.static(exhibition.cameras)]
    eye = np.mean(eyes, axis=0) if eyes else middle + FROM
    away = eye - middle
    flat = float(np.hypot(away[0], away[1]))
    turn = float(np.arctan2(away[1], away[0])) if flat > 0.05 else 0.6
    tilt = float(np.clip(np.arctan2(away[2], flat), 0.35, 1.1))
    spread = float(np.quantile(np.linalg.norm(points - middle, axis=1), 0.75))
    return {"turn": turn, "tilt": tilt, "distance": max(0.3, 2.0 * spread), "middle": middle.tolist()}


def _text(values: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
