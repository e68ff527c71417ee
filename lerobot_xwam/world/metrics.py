"""How close footage comes to the truth: the paper's numbers, one per frame.

PSNR and SSIM are torchmetrics'. AbsRel is mean |d - d*| / d*, delta_1 the share with max(d/d*, d*/d) < 1.25,
both on pixels with a reading. Chamfer is the mean of both directions' mean distance to the nearest point, in
metres (not squared).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .footage import Floats

BEST_PSNR = 100.0  # dB, of equal pictures: infinity cannot be averaged
Pictures = NDArray[np.uint8]  # N H W 3
Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures, N 3 H W in [-1, 1] -> distances N."""


def psnr(pictures: Pictures, truth: Pictures) -> Floats:
    """Decibels, one per picture. N H W 3 -> N"""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    pairs = zip(_unit(pictures), _unit(truth), strict=True)
    values = [float(peak_signal_noise_ratio(a, b, data_range=1.0)) for a, b in pairs]
    return np.minimum(np.array(values, dtype=np.float32), BEST_PSNR)


def ssim(pictures: Pictures, truth: Pictures) -> Floats:
    """Structural similarity (Gaussian window, sigma 1.5), one per picture. N H W 3 -> N"""
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(pictures.shape[1:3]) < 11:
        raise ValueError(f"SSIM wants pictures of at least 11 pixels, got {pictures.shape[1:3]}")
    # In double precision: variances are differences of squares, and single loses the fourth digit.
    pair = _unit(pictures).double(), _unit(truth).double()
    values = structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
    return values.reshape(-1).float().numpy()


def perceptual(pictures: Pictures, truth: Pictures, distance: Perceptual) -> Floats:
    """LPIPS, one per picture. N H W 3 -> N"""
    with torch.no_grad():
        return distance(_unit(pictures) * 2 - 1, _unit(truth) * 2 - 1).reshape(-1).cpu().numpy()


def abs_rel(metres: Floats, truth: Floats) -> Floats:
    """One per depth map; NaN where the truth has no reading at all. N H W -> N"""
    return _mean_where_read(lambda d, t: np.abs(d - t) / t, metres, truth)


def delta_1(metres: Floats, truth: Floats) -> Floats:
    """One per depth map; NaN where the truth has no reading at all. N H W -> N"""
    return _mean_where_read(lambda d, t: np.maximum(d / t, t / d) < 1.25, metres, truth)


def chamfer(points: Floats, truth: Floats) -> float:
    """Metres between two clouds; NaN if one of them is empty. N 3, M 3"""
    from scipy.spatial import cKDTree

    if not len(points) or not len(truth):
        return float("nan")
    forth, _ = cKDTree(truth).query(points)
    back, _ = cKDTree(points).query(truth)
    return float(forth.mean() + back.mean()) / 2


def _unit(pictures: Pictures) -> Tensor:
    """N H W 3 uint8 -> N 3 H W in [0, 1]"""
    return torch.from_numpy(np.ascontiguousarray(pictures)).movedim(-1, 1).float() / 255


def _mean_where_read(error: Callable[[NDArray, NDArray], NDArray], metres: Floats, truth: Floats) -> Floats:
    """A pixel that the truth has and the prediction has not counts as the worst: depth 0."""
    if metres.shape != truth.shape:
        raise ValueError(f"depth maps of shapes {metres.shape} and {truth.shape} cannot be compared")
    means = []
    for one, other in zip(metres.astype(np.float64), truth.astype(np.float64), strict=True):
        read = np.isfinite(other) & (other > 0)
        guess = np.where(np.isfinite(one) & (one > 0), one, 0)[read]
        with np.errstate(divide="ignore"):
            means.append(error(guess, other[read]).mean() if read.any() else np.nan)
    return np.array(means, dtype=np.float32)
