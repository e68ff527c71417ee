"""A ball on a floor, seen by two static cameras of unequal size and one that rides on an arm. Exact depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lerobot_xwam.data.views import center_crop, resize
from lerobot_xwam.space.poses import arm_state, pose_matrix
from lerobot_xwam.space.rotations import Array, matrix_from_vector
from lerobot_xwam.world.cameras import Camera, Rig
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.footage import Footage
from lerobot_xwam.world.found_cameras import Seen
from lerobot_xwam.world.grid import Grid, Size

BALL, RADIUS = np.array([0.05, -0.03, 0.1]), 0.1
FRAMES = 4
LEFT, RIGHT, WRIST = NAMES = tuple(f"observation.images.{name}" for name in ("left", "right", "wrist"))
GRID = Grid((72, 96), 0.95)


def look_at(eye: Array, target: Array) -> Array:
    """Camera to room, OpenCV axes. 4 4"""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return pose_matrix(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def pinhole(size: Size, focal: float) -> Array:
    return np.array([[focal, 0, size[1] / 2 + 1.5], [0, focal, size[0] / 2 - 1.0], [0, 0, 1]])


def states(arms: int = 1) -> Array:
    """Arms that move and turn. F 8*arms"""
    per_arm = []
    for arm in range(arms):
        turn = np.linspace(0.0, 0.5, FRAMES)[:, None] * np.array([0.3, -0.2, 0.9])
        place = np.array([-0.1, 0.25 - 0.5 * arm, 0.45]) + np.linspace(0, 0.1, FRAMES)[:, None]
        per_arm.append(arm_state(place, matrix_from_vector(turn), np.zeros(FRAMES)))
    return np.concatenate(per_arm, axis=1)


def true_rig(arms: int = 1) -> Rig:
    middle = np.array([0.0, 0.0, 0.05])
    small, large = (60, 80), (120, 160)
    first = effectors_of_layout(states())[0, 0]
    hand_eye = np.linalg.inv(first) @ look_at(first[:3, 3] + [0.05, 0.02, -0.02], middle)
    cameras = {
        LEFT: Camera(pinhole(small, 75), small, look_at(np.array([0.6, 0.5, 0.5]), middle)),
        RIGHT: Camera(pinhole(large, 150), large, look_at(np.array([0.6, -0.5, 0.4]), middle)),
        WRIST: Camera(pinhole((90, 90), 80), (90, 90), hand_eye, arm=arms - 1),
    }
    if arms == 2:
        second = effectors_of_layout(states(2))[0, 1]
        pose = look_at(second[:3, 3] + [0.05, 0.02, -0.02], middle)
        cameras[WRIST] = replace(cameras[WRIST], pose=np.linalg.inv(second) @ pose)
    return Rig(cameras)


def render(camera: Camera, pose: Array) -> tuple[Array, Array]:
    """RGB H W 3 (0..255) and metres H W: floor z = 0 and the ball."""
    v, u = np.mgrid[0 : camera.size[0], 0 : camera.size[1]] + 0.5
    k = camera.intrinsics
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], axis=-1)
    rays, eye = rays @ pose[:3, :3].T, pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
    away = eye - BALL
    a, b, c = (rays * rays).sum(-1), rays @ away, away @ away - RADIUS**2
    root = b * b - a * c
    ball = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    metres = np.minimum(floor, ball)
    points = eye + rays * np.where(np.isfinite(metres), metres, 0)[..., None]
    return 127 + 120 * np.sin(20 * points), metres


def distance_to_truth(points: Array) -> Array:
    """N 3 -> N"""
    ball = np.abs(np.linalg.norm(points - BALL, axis=1) - RADIUS)
    return np.minimum(np.abs(points[:, 2]), ball)


def film(rig: Rig, arms: int = 1, grid: Grid = GRID) -> Footage:
    """Rendered at every camera's own size, then through the policy's resize and crop. Depth in whole mm."""
    effectors = effectors_of_layout(states(arms))
    rgb, metres = [], []
    for camera in rig.cameras.values():
        pictures, depths = zip(
            *(render(camera, pose) for pose in camera.poses(effectors, FRAMES)), strict=True
        )
        colour = torch.tensor(np.stack(pictures)).movedim(-1, 1)  # F 3 H W
        depth = torch.tensor(np.stack(depths)).mul(1000).round().div(1000).unsqueeze(1)  # F 1 H W
        rgb.append(center_crop(resize(colour, grid.size), grid.crop_ratio).movedim(1, -1))
        depth = center_crop(resize(depth, grid.size, depth=True), grid.crop_ratio, depth=True)
        metres.append(depth[:, 0])
    return Footage(
        cameras=tuple(rig.cameras),
        rgb=torch.stack(rgb).round().clamp(0, 255).byte().numpy(),
        metres=torch.stack(metres).float().numpy(),
        states=states(arms).astype(np.float32),
        actions=np.zeros((4 * (FRAMES - 1), 7 * arms), dtype=np.float32),
        seconds=0.2,
        name="truth",
    )


def seen(rig: Rig, arms: int = 1) -> dict[str, Seen]:
    """What a dataset would have recorded of these cameras."""
    effectors = effectors_of_layout(states(arms))
    return {
        name: Seen(camera.size, np.stack([camera.intrinsics] * FRAMES), camera.poses(effectors, FRAMES))
        for name, camera in rig.cameras.items()
    }
