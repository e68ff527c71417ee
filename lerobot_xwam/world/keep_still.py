"""Where a static camera's imagined pictures stand still, what was seen is truer than the codec's copy of it.

A future comes through the video codec, which blurs everything, also what never moves. What changes is judged
within the imagination, a frame against its own first one, so the codec's error cancels out. A change begins
at pixels that change much and spreads to those around that change a little: things move as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .footage import Floats, Footage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    depth: float  # of the nearer depth
    colour: float  # of 255, in the channel that changes most


MUCH, LITTLE = Change(depth=0.3, colour=60), Change(depth=0.2, colour=40)  # beyond what the codec flickers
GRAIN = 3  # pixels: smaller specks are noise


def keep_still(
    imagined: Footage,
    rgb: NDArray[np.uint8],  # V H W 3, as seen at the moment of acting
    metres: Floats | None,  # V H W, NaN where nothing was read; None: no depth camera
    static: Sequence[str],
) -> Footage:
    """The imagination with what was seen wherever these cameras' pictures do not change."""
    views = imagined.views(list(static))
    colours = imagined.rgb.copy()
    depths = None if imagined.metres is None else imagined.metres.copy()
    for view in views:
        still = ~moved(imagined.rgb[view], None if imagined.metres is None else imagined.metres[view])
        colours[view] = np.where(still[..., None], rgb[view], colours[view])
        if depths is not None and metres is not None:
            known = still & np.isfinite(metres[view])
            depths[view] = np.where(known, metres[view], depths[view])
    return replace(imagined, rgb=colours, metres=depths)


def moved(rgb: NDArray[np.uint8], metres: Floats | None) -> Mask:
    """Pixels of one view that change from the first frame on. F H W 3, F H W -> F H W"""
    from scipy.ndimage import binary_propagation

    colour = np.abs(rgb.astype(np.float32) - rgb[:1]).max(axis=-1)  # F H W
    depth = np.zeros_like(colour)
    if metres is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            depth = np.nan_to_num(np.abs(metres - metres[:1]) / np.minimum(metres, metres[:1]))
    much, little = (
        _without_specks((depth > limit.depth) | (colour > limit.colour)) for limit in (MUCH, LITTLE)
    )
    return np.stack(
        [binary_propagation(seed & around, mask=around) for seed, around in zip(much, little, strict=True)]
    )


def _without_specks(masks: Mask) -> Mask:
    """F H W -> F H W"""
    from scipy.ndimage import median_filter

    return median_filter(masks, size=(1, GRAIN, GRAIN))
