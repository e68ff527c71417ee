"""Frames and depth as pictures and films that a person can look at."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from .files import appearing

MARGIN = 14  # pixels for a row's label
NEAR_TO_FAR = np.array(
    [[220, 50, 30], [240, 210, 80], [60, 190, 190], [40, 90, 200], [12, 16, 60]], dtype=float
)  # RGB of depth


def rgb_pixels(frames: Tensor) -> np.ndarray:
    """... 3 H W in [-1, 1] -> ... H W 3 uint8"""
    pixels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round()
    return pixels.movedim(-3, -1).byte().cpu().numpy()


def side_by_side(views: np.ndarray) -> np.ndarray:
    """V F H W 3 -> F H V*W 3"""
    return np.concatenate(list(views), axis=2)


def stack_rows(rows: dict[str, np.ndarray], scale: int = 1) -> np.ndarray:
    """Films of equal length under each other, each with its name above it. name -> F H W 3; -> F H' W' 3"""
    films = []
    for name, row in rows.items():
        row = row.repeat(scale, axis=1).repeat(scale, axis=2)
        label = Image.new("RGB", (row.shape[2], MARGIN), (20, 20, 24))
        ImageDraw.Draw(label).text((3, 1), name, fill=(230, 230, 230))
        films.append(
            np.concatenate(
                [np.broadcast_to(np.asarray(label), (len(row), *np.asarray(label).shape)), row], axis=1
            )
        )
    return np.concatenate(films, axis=1)


def contact_sheet(rows: dict[str, np.ndarray], moments: list[int], scale: int = 1) -> np.ndarray:
    """Chosen moments beside each other. name -> F H W 3; -> H' W' 3"""
    film = stack_rows(rows, scale)
    return np.concatenate([film[moment] for moment in moments], axis=1)


def write_png(path: Path, pixels: np.ndarray) -> None:
    with appearing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    """F H W 3 uint8 -> H.264. Odd sizes lose a row or column, as the format wants even ones."""
    import av

    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with appearing(path) as temporary, av.open(str(temporary), mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": "16"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
