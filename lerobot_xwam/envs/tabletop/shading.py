"""From hit points to a picture: light, shadow on the table, a painted mat, anti-aliased edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.envs.tabletop.render import Camera, Hits, Room, Solid, cast, inside
from lerobot_xwam.space.rotations import Array

EDGE_CONTRAST = 0.04  # neighbouring pixels that differ more than this are sampled again
SUBPIXELS = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])  # 4 2


@dataclass(frozen=True)
class Light:
    """One distant light."""

    towards: Array  # 3, unit vector from the scene to the light
    ambient: float = 0.32
    diffuse: float = 0.70
    in_shadow: float = 0.5  # share of the diffuse light that reaches a shadowed spot


@dataclass(frozen=True)
class Scene:
    """Everything there is to draw."""

    room: Room
    solids: Sequence[Solid]
    light: Light
    mat_colour: Array  # 3
    mat_low: Array  # 2, corners of the mat on the table top
    mat_high: Array  # 2


def render(camera: Camera, scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One view: RGB (anti-aliased) and depth in metres at the pixel centres.  # H W 3, H W"""
    pixels = camera.pixel_centres()
    hits = cast(camera, pixels, scene.room, scene.solids)
    colours = _shade(hits, scene)
    edges = np.flatnonzero(_edges(colours.reshape(camera.height, camera.width, 3)))
    if len(edges):
        finer = (pixels[edges, None] + SUBPIXELS).reshape(-1, 2)
        samples = _shade(cast(camera, finer, scene.room, scene.solids), scene)
        colours[edges] = samples.reshape(len(edges), len(SUBPIXELS), 3).mean(axis=1)
    rgb = np.rint(np.clip(colours, 0.0, 1.0) * 255.0).astype(np.uint8)
    shape = (camera.height, camera.width)
    return rgb.reshape(*shape, 3), hits.depth.astype(np.float32).reshape(shape)


def render_depth(camera: Camera, scene: Scene) -> NDArray[np.float32]:
    """Depth in metres at the pixel centres.  # H W"""
    depth = cast(camera, camera.pixel_centres(), scene.room, scene.solids).depth
    return depth.astype(np.float32).reshape(camera.height, camera.width)


def _shade(hits: Hits, scene: Scene) -> Array:
    """Colours of hit points.  # N 3"""
    base = np.concatenate([[solid.colour for solid in scene.solids], scene.room.colour[None]])
    colours = base[hits.solid]  # -1, the room, is the last row
    floor = (hits.solid < 0) & (hits.normals[:, 2] > 0.5)
    colours[floor] = scene.room.floor_colour

    # Half of the light comes round the corner, so that no side is black and every side differs.
    facing = 0.5 + 0.5 * hits.normals @ scene.light.towards
    for number, solid in enumerate(scene.solids):
        if solid.paint != "table":
            continue
        top = np.flatnonzero((hits.solid == number) & (hits.normals[:, 2] > 0.5))
        points = hits.points[top]
        on_mat = inside(points, scene.mat_low, scene.mat_high)
        colours[top[on_mat]] = scene.mat_colour
        facing[top[_shadowed(points, scene, number)]] *= scene.light.in_shadow
    return colours * (scene.light.ambient + scene.light.diffuse * facing)[:, None]


def _shadowed(points: Array, scene: Scene, table: int) -> NDArray[np.bool_]:
    """Which points of the table top do not see the light.  # N"""
    shadow = np.zeros(len(points), dtype=bool)
    if len(points) == 0:
        return shadow
    towards, height = scene.light.towards, float(points[0, 2])
    for number, solid in enumerate(scene.solids):
        corners = solid.corners()
        if number == table or (corners[:, 2] <= height).all():
            continue
        # Slide the corners along the light down to the table: the shadow lies within their rectangle.
        drop = (corners[:, 2:] - height) / towards[2]
        print_on_table = corners[:, :2] - drop * towards[:2]
        near = np.flatnonzero(inside(points, print_on_table.min(axis=0), print_on_table.max(axis=0)))
        if len(near):
            shadow[near] |= solid.blocks(points[near], towards)
    return shadow


def _edges(picture: Array) -> NDArray[np.bool_]:
    """Pixels with a clearly different neighbour, in row order.  # H W 3 -> H*W"""
    edge = np.zeros(picture.shape[:2], dtype=bool)
    down = (np.abs(np.diff(picture, axis=0)) > EDGE_CONTRAST).any(axis=2)
    across = (np.abs(np.diff(picture, axis=1)) > EDGE_CONTRAST).any(axis=2)
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge.ravel()
