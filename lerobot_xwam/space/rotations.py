"""Rotations as quaternions, matrices, axis-angle vectors, Euler angles and 6D, any number at a time.

Quaternions are (w, x, y, z). q and -q are one rotation: `canonical` takes the one with w >= 0, `continuous`
the one nearest to the frame before. All is float64 and works on the last axis, the last two for matrices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def rotation_x(angle: ArrayLike) -> Array:
    """Rotation about the x axis.  # ... -> ... 3 3"""
    return matrix_from_vector(_on_axis(angle, 0))


def rotation_y(angle: ArrayLike) -> Array:
    """Rotation about the y axis.  # ... -> ... 3 3"""
    return matrix_from_vector(_on_axis(angle, 1))


def rotation_z(angle: ArrayLike) -> Array:
    """Rotation about the z axis.  # ... -> ... 3 3"""
    return matrix_from_vector(_on_axis(angle, 2))


def canonical(quaternion: ArrayLike) -> Array:
    """The same rotations with w >= 0.  # ... 4"""
    q = np.asarray(quaternion, dtype=np.float64)
    return np.where(q[..., :1] < 0, -q, q)


def continuous(quaternions: ArrayLike) -> Array:
    """A path without sign flips: w >= 0 at first, then always the nearer of q and -q.  # ... T 4"""
    q = canonical(quaternions)
    turns = np.where(np.sum(q[..., 1:, :] * q[..., :-1, :], axis=-1) < 0, -1.0, 1.0)
    signs = np.concatenate([np.ones((*q.shape[:-2], 1)), np.cumprod(turns, axis=-1)], axis=-1)
    return q * signs[..., None]


def multiply(first: ArrayLike, second: ArrayLike) -> Array:
    """Turn by `second`, then by `first`, as with matrices.  # ... 4"""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    w = a[..., :1] * b[..., :1] - np.sum(a[..., 1:] * b[..., 1:], axis=-1, keepdims=True)
    xyz = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([w, xyz], axis=-1)


def inverse(quaternion: ArrayLike) -> Array:
    """The rotation back, of unit quaternions.  # ... 4"""
    return np.asarray(quaternion, dtype=np.float64) * np.array([1.0, -1.0, -1.0, -1.0])


def quaternion_from_vector(vector: ArrayLike) -> Array:
    """Axis-angle -> unit quaternion with w >= 0.  # ... 3 -> ... 4"""
    v = np.asarray(vector, dtype=np.float64)
    half = np.linalg.norm(v, axis=-1, keepdims=True) / 2
    return canonical(np.concatenate([np.cos(half), np.sinc(half / np.pi) / 2 * v], axis=-1))


def vector_from_quaternion(quaternion: ArrayLike) -> Array:
    """Unit quaternion -> axis-angle of at most pi.  # ... 4 -> ... 3"""
    q = canonical(quaternion)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    small = sine < 1e-12
    angle = 2 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(small, 2.0, angle / np.where(small, 1.0, sine))


def matrix_from_quaternion(quaternion: ArrayLike) -> Array:
    """Quaternion, not necessarily of length 1, -> matrix.  # ... 4 -> ... 3 3"""
    q = np.asarray(quaternion, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(matrix: ArrayLike) -> Array:
    """Matrix -> unit quaternion with w >= 0.  # ... 3 3 -> ... 4"""
    m = np.asarray(matrix, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row i is 4 q_i q. The row with the largest q_i is the safe one to take.
    rows = [
        [1 + xx + yy + zz, wx, wy, wz],
        [wx, 1 + xx - yy - zz, xy, xz],
        [wy, xy, 1 - xx + yy - zz, yz],
        [wz, xz, yz, 1 - xx - yy + zz],
    ]
    outer = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)  # ... 4 4
    largest = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    return canonical(q / np.linalg.norm(q, axis=-1, keepdims=True))


def matrix_from_vector(vector: ArrayLike) -> Array:
    """Axis-angle -> matrix.  # ... 3 -> ... 3 3"""
    return matrix_from_quaternion(quaternion_from_vector(vector))


def vector_from_matrix(matrix: ArrayLike) -> Array:
    """Matrix -> axis-angle of at most pi.  # ... 3 3 -> ... 3"""
    return vector_from_quaternion(quaternion_from_matrix(matrix))


def matrix_from_euler(angles: ArrayLike, order: str) -> Array:
    """Euler angles in radians -> matrix.  # ... 3 -> ... 3 3

    "xyz" turns about the fixed axes x, then y, then z; "XYZ" about the axes that turn along.
    """
    turns = {"x": rotation_x, "y": rotation_y, "z": rotation_z}
    if len(order) != 3 or order not in (order.lower(), order.upper()) or set(order.lower()) - turns.keys():
        raise ValueError(f"Euler order {order!r}: wanted three of xyz (fixed axes) or XYZ (moving axes)")
    angles = np.asarray(angles, dtype=np.float64)
    first, second, third = (turns[axis.lower()](angles[..., i]) for i, axis in enumerate(order))
    return third @ second @ first if order.islower() else first @ second @ third


def matrix_from_6d(columns: ArrayLike) -> Array:
    """The first two columns, one after the other, made orthonormal -> matrix.  # ... 6 -> ... 3 3"""
    columns = np.asarray(columns, dtype=np.float64)
    x = columns[..., :3] / np.linalg.norm(columns[..., :3], axis=-1, keepdims=True)
    y = columns[..., 3:] - np.sum(x * columns[..., 3:], axis=-1, keepdims=True) * x
    y /= np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def six_d_from_matrix(matrix: ArrayLike) -> Array:
    """The first two columns of a matrix.  # ... 3 3 -> ... 6"""
    m = np.asarray(matrix, dtype=np.float64)
    return np.concatenate([m[..., :, 0], m[..., :, 1]], axis=-1)


def not_a_rotation(matrix: ArrayLike, tolerance: float = 1e-3) -> str | None:
    """What is wrong with matrices that should be rotations, or None.  # ... 3 3"""
    m = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(m).all():
        return "NaN or infinite rotation matrix"
    if (error := float(np.abs(m @ np.swapaxes(m, -1, -2) - np.eye(3)).max(initial=0.0))) > tolerance:
        return f"rotation matrix that is not orthonormal (off by {error:.2g})"
    if (np.linalg.det(m) < 0).any():
        return "left-handed rotation matrix (determinant -1)"
    return None


def _on_axis(angle: ArrayLike, axis: int) -> Array:
    return np.asarray(angle, dtype=np.float64)[..., None] * np.eye(3)[axis]
