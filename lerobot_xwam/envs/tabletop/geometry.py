"""Angles and viewpoints of the tabletop world; rotations and poses are those of `space/`."""

from __future__ import annotations

import numpy as np

from lerobot_xwam.space.poses import pose_matrix
from lerobot_xwam.space.rotations import Array


def wrap_angle(angle: float) -> float:
    """The same angle in [-pi, pi)."""
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)


def look_at(eye: Array, target: Array, up: Array) -> Array:
    """Camera-to-world transform with OpenCV axes: x right, y down, z forward.  # 4 4"""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return pose_matrix(np.stack([right, np.cross(forward, right), forward], axis=1), eye)
