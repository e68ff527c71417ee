"""Static cameras keep what was seen where nothing is imagined to move."""

from __future__ import annotations

import numpy as np
import pytest

from lerobot_xwam.world.footage import Footage
from lerobot_xwam.world.keep_still import GRAIN, keep_still, moved

FRONT, HAND = "observation.images.front", "observation.images.hand"
SIZE, FRAMES = (40, 48), 3
BLUR = 12  # of 255: what the codec is off everywhere
FIRST = (slice(10, 20), slice(8, 18))  # where the thing is at first
LAST = (slice(10, 20), slice(24, 34))  # and in the end


def seen() -> tuple[np.ndarray, np.ndarray]:
    """Grey wall at 2 m, bright thing at 1 m, one pixel without a reading. V H W 3, V H W"""
    rgb, metres = np.full((2, *SIZE, 3), 60, np.uint8), np.full((2, *SIZE), 2.0, np.float32)
    rgb[:, *FIRST], metres[:, *FIRST] = 200, 1.0
    metres[:, 0, 0] = np.nan
    return rgb, metres


def imagined(depth: bool = True) -> Footage:
    """The same through a codec, and the thing elsewhere in the last frame; V F H W."""
    rgb, metres = seen()
    films = np.repeat(rgb[:, None] + BLUR, FRAMES, axis=1).astype(np.uint8)
    depths = np.repeat(np.nan_to_num(metres[:, None], nan=2.0) * 1.03, FRAMES, axis=1)
    films[:, -1, *FIRST], depths[:, -1, *FIRST] = 60 + BLUR, 2.06
    films[:, -1, *LAST], depths[:, -1, *LAST] = 200 + BLUR, 1.03
    zeros = np.zeros((FRAMES, 8), np.float32), np.zeros((4, 7), np.float32)
    return Footage((FRONT, HAND), films, depths.astype(np.float32) if depth else None, *zeros, 0.2, "it")


def changed() -> np.ndarray:
    where = np.zeros(SIZE, bool)
    where[FIRST] = where[LAST] = True
    return where


def corners(where: np.ndarray) -> np.ndarray:
    """Pixels that a median takes for specks."""
    from scipy.ndimage import median_filter

    return where ^ median_filter(where, size=GRAIN)


def test_only_what_moves_is_imagined() -> None:
    (rgb, metres), film = seen(), imagined()
    kept = keep_still(film, rgb, metres, [FRONT])
    assert kept.metres is not None and film.metres is not None
    still = ~changed()
    for frame, where in ((0, np.ones(SIZE, bool)), (1, np.ones(SIZE, bool)), (2, still)):
        read = where & np.isfinite(metres[0])
        np.testing.assert_array_equal(kept.rgb[0, frame][where], rgb[0][where])
        np.testing.assert_array_equal(kept.metres[0, frame][read], metres[0][read])
    gone = changed() & ~corners(changed())
    np.testing.assert_array_equal(kept.rgb[0, -1][gone], film.rgb[0, -1][gone])
    np.testing.assert_array_equal(kept.metres[0, -1][gone], film.metres[0, -1][gone])
    assert corners(changed()).sum() == 8  # four of each square


def test_a_pixel_without_a_reading_keeps_the_imagined_depth() -> None:
    (rgb, metres), film = seen(), imagined()
    kept = keep_still(film, rgb, metres, [FRONT])
    assert kept.metres is not None
    np.testing.assert_allclose(kept.metres[0, :, 0, 0], 2.06, rtol=1e-6)


def test_wrist_cameras_and_what_is_no_picture_stay_as_imagined() -> None:
    (rgb, metres), film = seen(), imagined()
    before = film.rgb.copy()
    kept = keep_still(film, rgb, metres, [FRONT])
    np.testing.assert_array_equal(kept.rgb[1], film.rgb[1])
    np.testing.assert_array_equal(film.rgb, before)  # the given one is not written into
    assert kept.states is film.states and kept.actions is film.actions and kept.name == film.name


@pytest.mark.parametrize("sensor", [True, False])
def test_without_depth_colour_decides(sensor: bool) -> None:
    (rgb, _), film = seen(), imagined(depth=sensor)
    kept = keep_still(film, rgb, None, [FRONT])
    np.testing.assert_array_equal(kept.rgb[0, 0], rgb[0])
    if film.metres is None:
        assert kept.metres is None
    else:
        np.testing.assert_array_equal(kept.metres, film.metres)


def test_a_little_change_counts_beside_a_great_one_only() -> None:
    film = np.full((2, *SIZE, 3), 60, np.uint8)
    film[1, 5:15, 5:15] = 60 + 100  # much
    film[1, 15:20, 5:15] = 60 + 50  # a little, touching it
    film[1, 30:36, 30:36] = 60 + 50  # a little, alone
    film[1, 38, 2] = 255  # a speck
    where = moved(film, None)
    assert not where[0].any()
    assert where[1, 6:19, 6:14].all()
    assert not where[1, 25:].any()


def test_depth_alone_shows_motion_and_missing_readings_do_not() -> None:
    grey, metres = np.full((2, *SIZE, 3), 60, np.uint8), np.full((2, *SIZE), 2.0, np.float32)
    metres[1, 5:15, 5:15] = 1.0
    metres[0, 30:36, 30:36] = np.nan
    where = moved(grey, metres)
    assert where[1, 6:14, 6:14].all() and not where[1, 25:].any()
