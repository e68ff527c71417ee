"""Ray casting of boxes and spheres inside a room. Exact, vectorised, numpy only.

Rays are not normalised: their camera-frame z component is 1, so the ray parameter of a hit *is* the depth
along the optical axis. Pixel centres lie at +0.5; camera axes are OpenCV's (x right, y down, z forward).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.space.rotations import Array

NEAREST = 1e-3  # metres: nothing closer than this is seen
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])  # 8 3


@dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    height: int
    width: int
    intrinsics: Array  # 3 3
    extrinsics: Array  # 4 4, camera to world

    def rays(self, pixels: Array) -> Array:
        """World directions through the image points (u, v), with depth 1 along the axis.  # N 2 -> N 3"""
        k = self.intrinsics
        x = (pixels[:, 0] - k[0, 2]) / k[0, 0]
        y = (pixels[:, 1] - k[1, 2]) / k[1, 1]
        return np.stack([x, y, np.ones_like(x)], axis=1) @ self.extrinsics[:3, :3].T

    def pixel_centres(self) -> Array:
        """Image points of all pixel centres in row order.  # H*W 2"""
        v, u = np.mgrid[0 : self.height, 0 : self.width]
        return np.stack([u.ravel() + 0.5, v.ravel() + 0.5], axis=1)


@dataclass(frozen=True)
class Box:
    """An oriented box."""

    centre: Array  # 3
    half: Array  # 3
    rotation: Array  # 3 3
    colour: Array  # 3, in [0, 1]
    paint: str = "plain"  # "table": the top carries a mat

    def corners(self) -> Array:
        """The eight corners in the world.  # 8 3"""
        return self.centre + (_CORNERS * self.half) @ self.rotation.T

    def hit(self, origin: Array, directions: Array) -> tuple[Array, Array]:
        """Ray parameter of the entry (inf where missed) and outward normal.  # N, N 3"""
        local_directions = directions @ self.rotation
        enter_axes, leave_axes = _slabs((origin - self.centre) @ self.rotation, local_directions, self.half)
        enter = _last(enter_axes)
        seen = (enter < _first(leave_axes)) & (enter > NEAREST)
        axis = enter_axes.argmax(axis=1)
        side = -np.sign(local_directions[np.arange(len(axis)), axis])
        return np.where(seen, enter, np.inf), self.rotation.T[axis] * side[:, None]

    def blocks(self, origins: Array, direction: Array) -> NDArray[np.bool_]:
        """Whether rays from many origins along one direction meet the box.  # N"""
        local_origins = (origins - self.centre) @ self.rotation
        enter, leave = _slabs(local_origins, direction @ self.rotation, self.half)
        return np.maximum(_last(enter), NEAREST) < _first(leave)


@dataclass(frozen=True)
class Sphere:
    """A ball."""

    centre: Array  # 3
    radius: float
    colour: Array  # 3
    paint: str = "plain"

    def corners(self) -> Array:
        """Corners of the enclosing cube.  # 8 3"""
        return self.centre + _CORNERS * self.radius

    def hit(self, origin: Array, directions: Array) -> tuple[Array, Array]:
        """Ray parameter of the entry (inf where missed) and outward normal.  # N, N 3"""
        offset = origin - self.centre
        a = np.einsum("ni,ni->n", directions, directions)
        b = directions @ offset
        root = b**2 - a * (offset @ offset - self.radius**2)
        enter = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0.0))) / a, np.inf)
        enter = np.where(enter > NEAREST, enter, np.inf)
        reached = np.where(np.isfinite(enter), enter, 0.0)
        return enter, (offset + directions * reached[:, None]) / self.radius

    def blocks(self, origins: Array, direction: Array) -> NDArray[np.bool_]:
        """Whether rays from many origins along one direction meet the ball.  # N"""
        offsets = origins - self.centre
        unit = direction / np.linalg.norm(direction)
        along = offsets @ unit
        squares = np.einsum("ni,ni->n", offsets, offsets)
        return (squares - along**2 < self.radius**2) & (along < 0)


@dataclass(frozen=True)
class Room:
    """The inside of an axis-aligned box around everything: every ray ends at the latest on its walls."""

    low: Array  # 3
    high: Array  # 3
    colour: Array  # 3, of the walls
    floor_colour: Array  # 3

    def hit(self, origin: Array, directions: Array) -> tuple[Array, Array]:
        """Ray parameter and inward normal.  # N, N 3"""
        half = (self.high - self.low) / 2.0
        leave_axes = _slabs(origin - (self.high + self.low) / 2.0, directions, half)[1]
        axis = leave_axes.argmin(axis=1)
        rows = np.arange(len(axis))
        normals = np.zeros_like(directions)
        normals[rows, axis] = -np.sign(directions[rows, axis])
        return leave_axes[rows, axis], normals


Solid = Box | Sphere


@dataclass(frozen=True)
class Hits:
    """What a list of rays met."""

    depth: Array  # N, along the optical axis
    points: Array  # N 3, in the world
    normals: Array  # N 3
    solid: NDArray[np.int64]  # N, index into the solids, -1 for the room


def _slabs(origin: Array, directions: Array, half: Array) -> tuple[Array, Array]:
    """Where rays enter and leave the three pairs of planes of a centred box.  # N 3, N 3"""
    safe = np.where(np.abs(directions) < 1e-12, 1e-12, directions)
    inverse = 1.0 / safe
    middle = -origin * inverse
    reach = half * np.abs(inverse)
    return middle - reach, middle + reach


def _last(axes: Array) -> Array:
    """Largest of three columns; several times faster than numpy's reduction over a short axis.  # N 3 -> N"""
    return np.maximum(np.maximum(axes[:, 0], axes[:, 1]), axes[:, 2])


def _first(axes: Array) -> Array:
    """Smallest of three columns.  # N 3 -> N"""
    return np.minimum(np.minimum(axes[:, 0], axes[:, 1]), axes[:, 2])


def inside(points: Array, low: Array, high: Array) -> NDArray[np.bool_]:
    """Which points lie within a rectangle, by their first two columns.  # N 2+ -> N"""
    x, y = points[:, 0], points[:, 1]
    return (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])


def _screen_window(camera: Camera, corners: Array) -> tuple[Array, Array] | None:
    """Image rectangle (lowest uv, highest uv) that encloses projected corners; None if out of sight."""
    local = (corners - camera.extrinsics[:3, 3]) @ camera.extrinsics[:3, :3]
    if (local[:, 2] < NEAREST).all():
        return None
    if (local[:, 2] < 0.02).any():  # reaches behind the camera: the projection does not bound it
        return np.zeros(2), np.array([camera.width, camera.height], dtype=float)
    uv = local[:, :2] / local[:, 2:] * camera.intrinsics[[0, 1], [0, 1]] + camera.intrinsics[:2, 2]
    low, high = uv.min(axis=0), uv.max(axis=0)
    if high.min() < 0 or low[0] > camera.width or low[1] > camera.height:
        return None
    return low, high


def cast(camera: Camera, pixels: Array, room: Room, solids: Sequence[Solid]) -> Hits:
    """Follow the rays through image points (u, v) to the first surface.  # N 2"""
    origin = camera.extrinsics[:3, 3]
    directions = camera.rays(pixels)
    depth, normals = room.hit(origin, directions)
    index: NDArray[Any] = np.full(len(pixels), -1)
    for number, solid in enumerate(solids):
        window = _screen_window(camera, solid.corners())
        if window is None:
            continue
        rays = np.flatnonzero(inside(pixels, *window))
        if len(rays) == 0:
            continue
        enter, outward = solid.hit(origin, directions[rays])
        nearer = enter < depth[rays]
        rays = rays[nearer]
        depth[rays], normals[rays], index[rays] = enter[nearer], outward[nearer], number
    return Hits(depth, origin + directions * depth[:, None], normals, index)
