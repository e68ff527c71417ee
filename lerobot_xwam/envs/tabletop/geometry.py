"""Rotations and rigid transforms in numpy. Quaternions are (w, x, y, z) with w >= 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rotation_y(angle: float) -> Array:
    """Rotation about the y axis.  # 3 3"""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rotation_z(angle: float) -> Array:
    """Rotation about the z axis.  # 3 3"""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_from_vector(vector: Array) -> Array:
    """Axis-angle vector -> rotation matrix (Rodrigues).  # 3 -> 3 3"""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def vector_from_rotation(rotation: Array) -> Array:
    """Rotation matrix -> axis-angle vector, for angles below pi.  # 3 3 -> 3"""
    w, *xyz = quaternion_from_rotation(rotation)
    axis = np.array(xyz)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        return np.zeros(3)
    return axis * (2.0 * np.arctan2(sine, w) / sine)


def quaternion_from_rotation(rotation: Array) -> Array:
    """Rotation matrix -> unit quaternion wxyz with w >= 0.  # 3 3 -> 4"""
    m = rotation
    # The largest of the four squared components is the safe one to divide by.
    squares = np.array(
        [
            1.0 + m[0, 0] + m[1, 1] + m[2, 2],
            1.0 + m[0, 0] - m[1, 1] - m[2, 2],
            1.0 - m[0, 0] + m[1, 1] - m[2, 2],
            1.0 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    largest = int(np.argmax(squares))
    rows = {
        0: [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
        1: [m[2, 1] - m[1, 2], squares[1], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
        2: [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], squares[2], m[1, 2] + m[2, 1]],
        3: [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[3]],
    }
    quaternion = np.array(rows[largest])
    quaternion /= np.linalg.norm(quaternion)
    return -quaternion if quaternion[0] < 0 else quaternion


def wrap_angle(angle: float) -> float:
    """The same angle in [-pi, pi)."""
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)


def pose_matrix(rotation: Array, position: Array) -> Array:
    """Rotation and position -> homogeneous transform.  # 4 4"""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = position
    return matrix


def look_at(eye: Array, target: Array, up: Array) -> Array:
    """Camera-to-world transform with OpenCV axes: x right, y down, z forward.  # 4 4"""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return pose_matrix(np.stack([right, np.cross(forward, right), forward], axis=1), eye)
