"""Curves over the frames of an episode, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

COLOURS = [(31, 100, 190), (214, 96, 20), (40, 140, 70), (150, 60, 170), (120, 90, 40), (200, 30, 80)]
INK, SOFT, SHADE, FRAME = (27, 31, 39), (104, 112, 128), (232, 240, 250), (205, 210, 218)
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 26, 22  # margins around the curves
LEGEND = 15  # size of its letters


@dataclass(frozen=True)
class Panel:
    title: str
    names: list[str]
    solid: list[Any]  # each N
    dashed: list[Any]  # each N or None, in the colour of its solid one
    moments: list[int]  # frames that are shown above
    window: tuple[int, int]
    all_dashed: bool = False  # these are actions


def draw_panel(
    page: Image.Image, panel: Panel, place: tuple[int, int], size: tuple[int, int], font: Callable[[int], Any]
) -> None:
    pen = ImageDraw.Draw(page)
    left, top = place[0] + LEFT, place[1] + TOP
    right, bottom = place[0] + size[0] - RIGHT, place[1] + size[1] - BOTTOM
    lines = [*panel.solid, *(line for line in panel.dashed if line is not None)]
    low, high = _range(lines)
    last = max(1, len(panel.solid[0]) - 1)

    def x(frame: float) -> float:
        return left + (right - left) * frame / last

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    pen.rectangle([x(panel.window[0]), top, x(panel.window[1]), bottom], fill=SHADE)
    for moment in panel.moments:
        pen.line([x(moment), top, x(moment), bottom], fill=FRAME)
    if low < 0 < high:
        pen.line([left, y(0), right, y(0)], fill=FRAME)
    pen.rectangle([left, top, right, bottom], outline=FRAME)
    for value in (low, (low + high) / 2, high):
        text = f"{value:.2g}"
        pen.text(
            (left - 6 - pen.textlength(text, font=font(13)), y(value) - 8), text, fill=SOFT, font=font(13)
        )
    for frame in (0, last // 2, last):
        pen.text((x(frame) - 10, bottom + 4), str(frame), fill=SOFT, font=font(13))
    pen.text((x(last * 0.25) - 16, bottom + 4), "frame", fill=SOFT, font=font(13))
    for i, (solid, dashed) in enumerate(zip(panel.solid, panel.dashed, strict=True)):
        colour = COLOURS[i % len(COLOURS)]
        _line(pen, [(x(f), y(v)) for f, v in enumerate(solid)], colour, panel.all_dashed)
        if dashed is not None:
            _line(pen, [(x(f), y(v)) for f, v in enumerate(dashed)], colour, True)
    _legend(pen, panel, place, size[0], font)


def _legend(
    pen: ImageDraw.ImageDraw, panel: Panel, place: tuple[int, int], width: int, font: Callable[[int], Any]
) -> None:
    pen.text((place[0] + LEFT, place[1] + 4), panel.title, fill=INK, font=font(LEGEND))
    end = place[0] + width - RIGHT
    for i in reversed(range(len(panel.names))):
        end -= int(pen.textlength(panel.names[i], font=font(LEGEND))) + 14
        if end < place[0] + LEFT + pen.textlength(panel.title, font=font(LEGEND)) + 8:
            break  # names too long for the line: the colours stay in order
        pen.text((end, place[1] + 4), panel.names[i], fill=COLOURS[i % len(COLOURS)], font=font(LEGEND))


def _range(lines: list[Any]) -> tuple[float, float]:
    values = np.concatenate([np.asarray(line, dtype=np.float64) for line in lines])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or max(1e-3, 0.05 * abs(high))
    return low - room, high + room


def _line(
    pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: tuple[int, int, int], dashed: bool
) -> None:
    """Gaps where numbers are not finite."""
    run: list[tuple[float, float]] = []
    for point in [*points, (0.0, float("nan"))]:
        if np.isfinite(point[1]):
            run.append(point)
            continue
        if len(run) > 1:
            for part in _dashes(run) if dashed else [run]:
                pen.line(part, fill=colour, width=2, joint="curve")
        run = []


def _dashes(
    points: list[tuple[float, float]], on: float = 7, off: float = 5
) -> list[list[tuple[float, float]]]:
    """Pieces of a path, by its length on paper."""
    path = np.asarray(points)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    pieces = []
    for start in np.arange(0.0, along[-1], on + off):
        end = min(start + on, along[-1])
        inner = (along > start) & (along < end)
        stops = [start, *along[inner], end]
        pieces.append(
            [(float(np.interp(s, along, path[:, 0])), float(np.interp(s, along, path[:, 1]))) for s in stops]
        )
    return pieces
