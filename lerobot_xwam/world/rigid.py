"""Camera poses as 4x4 matrices in metres: inverse, mean, distance; and the matrices that are none."""

from __future__ import annotations

from typing import Any

import numpy as np

from lerobot_xwam.space.poses import pose_matrix
from lerobot_xwam.space.rotations import Array

TOLERANCE = 1e-3  # of R R^T = 1: calibrations are often written with four digits
FARTHEST = 20.0  # metres between a camera and the origin of its room
LONGEST_ARM = 2.0  # metres between a wrist camera and the end effector it sits on


def inverse(pose: Array) -> Array:
    """... 4 4 -> ... 4 4"""
    turned = np.swapaxes(pose[..., :3, :3], -1, -2)
    return pose_matrix(turned, -(turned @ pose[..., :3, 3:])[..., 0])


def mean_pose(poses: Array) -> Array:
    """The middle of poses that nearly agree: mean position, and the rotation nearest to all. N 4 4 -> 4 4"""
    left, _, right = np.linalg.svd(poses[:, :3, :3].mean(axis=0))
    flip = np.diag([1.0, 1.0, np.linalg.det(left @ right)])
    return pose_matrix(left @ flip @ right, poses[:, :3, 3].mean(axis=0))


def distance(poses: Array, other: Array) -> tuple[Array, Array]:
    """How far two poses are apart. ... 4 4 twice -> metres, degrees (...)"""
    relative = inverse(poses) @ other
    cosine = (np.trace(relative[..., :3, :3], axis1=-2, axis2=-1) - 1) / 2
    return np.linalg.norm(relative[..., :3, 3], axis=-1), np.degrees(np.arccos(cosine.clip(-1, 1)))


def checked_pose(matrix: Any, what: str, reach: float) -> Array:
    """The matrix as float64, if it is a rotation and a position within `reach` metres. 4 4"""
    pose = _numbers(matrix, (4, 4), what)
    if np.abs(pose[3] - [0, 0, 0, 1]).max() > TOLERANCE:
        raise ValueError(
            f"{what}: the last row is {pose[3].tolist()}, wanted [0, 0, 0, 1]: is the matrix transposed?"
        )
    rotation, position = pose[:3, :3], pose[:3, 3]
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > TOLERANCE:
        raise ValueError(
            f"{what}: the 3x3 part is no rotation, R R^T differs from 1 by {off:.3g}. Scale or shear do not "
            "belong into a camera pose"
        )
    if np.linalg.det(rotation) < 0:
        raise ValueError(
            f"{what}: the 3x3 part mirrors (determinant -1): one axis has the wrong sign. Cameras look along "
            "z with x to the right and y down (OpenCV)"
        )
    if (away := float(np.linalg.norm(position))) > reach:
        raise ValueError(
            f"{what}: position {position.round(3).tolist()} lies {away:.4g} m away, more than {reach:g} m. "
            "Is it in millimetres? Poses are in metres"
        )
    return pose


def checked_intrinsics(matrix: Any, size: tuple[int, int], what: str) -> Array:
    """The pinhole matrix as float64, if it fits to a picture of this height and width. 3 3"""
    k = _numbers(matrix, (3, 3), what)
    height, width = size
    zeros = [k[0, 1], k[1, 0], k[2, 0], k[2, 1]]
    if np.abs(zeros).max() > TOLERANCE * width or abs(k[2, 2] - 1) > TOLERANCE:
        raise ValueError(f"{what}: {k.tolist()} is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    focal, centre = np.array([k[0, 0], k[1, 1]]), np.array([k[0, 2], k[1, 2]])
    if (focal <= 0).any():
        raise ValueError(f"{what}: focal lengths {focal.tolist()}, wanted positive pixels: no mirrored axis")
    if (centre < 0).any() or (centre > [width, height]).any() or (focal < 0.1 * max(size)).any():
        raise ValueError(
            f"{what}: focal lengths {focal.tolist()} and centre {centre.tolist()} do not fit to a picture "
            f"{width} wide and {height} high. They are pixels of the recorded picture, not of a resized one"
        )
    return k


def _numbers(matrix: Any, shape: tuple[int, ...], what: str) -> Array:
    try:
        values = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {matrix!r} is no matrix of numbers") from error
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"{what}: shape {values.shape}, wanted {shape} of finite numbers")
    return values
