"""Depth from pictures alone, by somebody else's network: the row "without depth + external estimator"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .footage import Floats, Footage

Kind = Literal["metric", "depth", "inverse"]
KINDS: tuple[Kind, ...] = ("metric", "depth", "inverse")
AT_A_TIME = 4

Estimator = Callable[[NDArray[np.uint8]], Floats]
"""Pictures F H W 3 -> F H W: what `Kind` says. Called once per view, with its frames in order of time."""


def estimate_depth(footage: Footage, truth: Footage, estimator: Estimator, kind: Kind, name: str) -> Footage:
    """The footage with depth from its pictures.

    What is not metric is brought to metres by the first frame's true depth: "depth" by one factor, "inverse"
    (disparity, as Depth Anything gives it) by a factor and an offset. Later frames keep these numbers.
    """
    views = []
    for view in range(len(footage.cameras)):
        raw = np.asarray(estimator(footage.rgb[view]), dtype=np.float32)
        if raw.shape != footage.rgb.shape[1:4]:
            raise ValueError(
                f"the depth estimator gave shape {raw.shape} for pictures of shape {footage.rgb.shape[1:]}; "
                f"wanted {footage.rgb.shape[1:4]}"
            )
        views.append(raw if kind == "metric" else to_metres_by(raw, _first_depth(truth, view), kind))
    return footage.with_depth(np.stack(views), name)


def to_metres_by(raw: Floats, known: Floats, kind: Kind) -> Floats:
    """Relative depth of all frames, by the metres known of the first. F H W, H W -> F H W metres"""
    read = np.isfinite(known) & (known > 0) & np.isfinite(raw[0])
    if kind == "depth":
        read &= raw[0] > 0
        if not read.any():
            return np.full_like(raw, np.nan)
        return raw * np.float32(np.median(known[read] / raw[0][read]))
    if read.sum() < 2:
        return np.full_like(raw, np.nan)
    factor, offset = np.polyfit(raw[0][read].astype(np.float64), 1 / known[read].astype(np.float64), 1)
    inverse = factor * raw + offset
    with np.errstate(divide="ignore"):
        return np.where(inverse > 0, 1 / inverse, np.nan).astype(np.float32)


def load_estimator(source: str, device: str = "cpu") -> tuple[Estimator, Kind | None]:
    """A transformers depth-estimation model from a folder or from the Hub's cache; never a download.

    -> (the estimator, what it gives, if its configuration says so)
    """
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    if not Path(source).is_dir() and (source.startswith((".", "/", "~")) or source.count("/") != 1):
        raise FileNotFoundError(f"--depth-estimator {source}: no such folder, and no Hub id like NAME/REPO")
    try:
        processor = AutoImageProcessor.from_pretrained(source, local_files_only=True)
        model = AutoModelForDepthEstimation.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--depth-estimator {source}: not loaded ({str(error).splitlines()[0]}). Give the folder of a "
            "transformers depth-estimation model, or fetch it into the cache first: hf download " + source
        ) from error
    model = model.to(device).eval()
    told = model.config.to_dict().get("depth_estimation_type")
    kinds: dict[str, Kind] = {"metric": "metric", "relative": "inverse"}

    @torch.no_grad()
    def estimate(pictures: NDArray[np.uint8]) -> Floats:
        size, maps = pictures.shape[1:3], []
        for start in range(0, len(pictures), AT_A_TIME):
            some = list(pictures[start : start + AT_A_TIME])
            depth = model(**processor(images=some, return_tensors="pt").to(device)).predicted_depth  # n h w
            depth = torch.nn.functional.interpolate(
                depth.unsqueeze(1).float(), size=size, mode="bilinear", align_corners=False
            )
            maps.append(depth[:, 0].cpu().numpy())
        return np.concatenate(maps)

    return estimate, kinds.get(str(told))


def _first_depth(truth: Footage, view: int) -> Floats:
    if truth.metres is None:
        raise ValueError("a relative depth estimator needs the first frame's true depth for its scale")
    return truth.metres[view, 0]
