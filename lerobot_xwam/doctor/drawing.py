"""One sample as a picture: a training window of every camera, depth in colour, and its episode's curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .curves import Panel, draw_panel
from .footage import Shot
from .patient import ACTION_KEY, STATE_KEY, Patient

Array = NDArray[Any]

WIDTH, EDGE, GAP = 1500, 24, 8
LABEL = 130  # pixels left of the pictures for the camera's name
INK, SOFT, PAPER = (27, 31, 39), (104, 112, 128), (255, 255, 255)
NEAR_TO_FAR = np.array(
    [[220, 50, 30], [240, 210, 80], [60, 190, 190], [40, 90, 200], [12, 16, 60]], dtype=float
)
PANEL_HEIGHT = 190


@cache
def font(size: int) -> Any:
    return ImageFont.load_default(size)


@dataclass(frozen=True)
class DepthScale:
    near: float
    far: float

    @classmethod
    def of(cls, shots: list[Shot]) -> DepthScale:
        values = (
            np.concatenate([shot.pixels[shot.pixels > 0].ravel() for shot in shots]) if shots else np.zeros(0)
        )
        values = values[np.isfinite(values)]
        if not values.size:
            return cls(0.1, 10.0)
        low, high = np.quantile(values, [0.02, 0.98])
        return cls(float(max(low, 1e-3)), float(max(high, low * 1.05, 2e-3)))

    def colours(self, metres: Array) -> Array:
        """... -> ... 3 uint8; evenly in the logarithm; black without a reading"""
        good = np.isfinite(metres) & (metres > 0)
        share = np.log(np.where(good, metres, self.near) / self.near) / np.log(self.far / self.near)
        position = share.clip(0, 1)[..., None] * (len(NEAR_TO_FAR) - 1)
        low = np.clip(position.astype(int), 0, len(NEAR_TO_FAR) - 2)
        mixed = NEAR_TO_FAR[low[..., 0]] * (1 - position + low) + NEAR_TO_FAR[low[..., 0] + 1] * (
            position - low
        )
        return (mixed * good[..., None]).round().astype(np.uint8)


def draw(patient: Patient, headline: str) -> Image.Image:
    """Cameras above, curves below."""
    frames = patient.footage.shown_frames
    cell_width = (WIDTH - 2 * EDGE - LABEL - GAP * (len(frames) - 1)) // max(1, len(frames))
    strips = [
        _strip(patient, key, cell_width)
        for camera in patient.folder.cameras
        for key in (camera, f"{camera}_depth")
        if key in patient.folder.images and patient.footage.shown(key)
    ]
    panels = _panels(patient)
    columns = 2
    rows = -(-len(panels) // columns)
    height = EDGE + 84 + sum(strip.height + GAP for strip in strips) + 40 + rows * (PANEL_HEIGHT + GAP) + EDGE
    page = Image.new("RGB", (WIDTH, height), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((EDGE, EDGE - 6), headline, fill=INK, font=font(24))
    episode = patient.footage.shown_episode
    seconds = (frames[-1] - frames[0]) / patient.folder.fps if frames else 0.0
    pen.text(
        (EDGE, EDGE + 28),
        f"episode {episode}: one training window, {seconds:.2f} s. {_instruction(patient)}",
        fill=SOFT,
        font=font(17),
    )
    for i, frame in enumerate(frames):
        left = EDGE + LABEL + i * (cell_width + GAP)
        pen.text(
            (left, EDGE + 58), f"frame {frame}  {frame / patient.folder.fps:.2f} s", fill=INK, font=font(15)
        )
    top = EDGE + 84
    for strip in strips:
        page.paste(strip, (EDGE, top))
        top += strip.height + GAP
    if panels:
        pen.text(
            (EDGE, top + 8),
            "the whole episode: states solid, actions dashed; the window is shaded, its frames are the "
            "thin lines",
            fill=SOFT,
            font=font(17),
        )
    top += 40
    panel_width = (WIDTH - 2 * EDGE - GAP * (columns - 1)) // columns
    for i, panel in enumerate(panels):
        place = EDGE + i % columns * (panel_width + GAP), top + i // columns * (PANEL_HEIGHT + GAP)
        draw_panel(page, panel, place, (panel_width, PANEL_HEIGHT), font)
    return page


def _strip(patient: Patient, key: str, cell_width: int) -> Image.Image:
    """One camera's window side by side, with its name, and for depth the scale of colours."""
    shots = patient.footage.shown(key)
    height, width = shots[0].pixels.shape[:2]
    cell_height = min(round(cell_width * height / width), 260)
    cell = min(cell_width, round(cell_height * width / height)), cell_height
    strip = Image.new("RGB", (WIDTH - 2 * EDGE, cell_height), PAPER)
    pen = ImageDraw.Draw(strip)
    depth = key in patient.folder.depths
    scale = DepthScale.of(shots)
    name = key.removeprefix("observation.images.")
    for i, line in enumerate(_broken(name)):
        pen.text((0, 2 + 19 * i), line, fill=INK, font=font(16))
    below = 2 + 19 * len(_broken(name))
    pen.text((0, below), f"{height}x{width}", fill=SOFT, font=font(14))
    for i, shot in enumerate(shots):
        pixels = scale.colours(shot.pixels) if depth else shot.pixels
        enlarge = Image.Resampling.NEAREST if depth or width < cell[0] else Image.Resampling.LANCZOS
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(cell, enlarge)
        strip.paste(picture, (LABEL + i * (cell_width + GAP), 0))
    if depth:
        _colour_bar(strip, pen, scale, below + 26, cell_height)
    return strip


def _colour_bar(
    strip: Image.Image, pen: ImageDraw.ImageDraw, scale: DepthScale, top: int, bottom: int
) -> None:
    """Near at the bottom, with metres beside it."""
    length = max(10, bottom - top - 10)
    metres = np.geomspace(scale.far, scale.near, length)
    bar = np.repeat(scale.colours(metres)[:, None], 16, axis=1)
    strip.paste(Image.fromarray(bar), (0, top))
    for share in (0.0, 0.5, 1.0) if length > 40 else (0.0, 1.0):
        value = scale.far * (scale.near / scale.far) ** share
        pen.text((22, top + share * length - 8), f"{value:.2f} m", fill=INK, font=font(14))


def _broken(name: str, most: int = 14) -> list[str]:
    """A long name in lines, at its underscores."""
    lines = [""]
    for part in name.replace("_", "_\n").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    return lines


def _panels(patient: Patient) -> list[Panel]:
    if not patient.has_vectors:
        return []
    rows = np.flatnonzero(patient.rows.episode == patient.footage.shown_episode)
    if len(rows) < 2:
        return []
    states, actions = patient.rows.raw[STATE_KEY][rows], patient.rows.raw[ACTION_KEY][rows]
    window = (patient.footage.shown_frames[0], patient.footage.shown_frames[-1])

    def panel(title: str, key: str, dims: list[int], pairs: dict[int, int] | None = None) -> Panel:
        values = states if key == STATE_KEY else actions
        names = [patient.names(key)[i] for i in dims]
        dashed = [actions[:, pairs[i]] if pairs and i in pairs else None for i in dims]
        return Panel(
            title,
            names,
            [values[:, i] for i in dims],
            dashed,
            patient.footage.shown_frames,
            window,
            key == ACTION_KEY,
        )

    if patient.interface[0] == "ee":
        panels = []
        for arm in range(states.shape[1] // 8):
            s, a = 8 * arm, 7 * arm
            still = not (np.ptp(states[:, s : s + 8], axis=0).any() or actions[:, a : a + 7].any())
            if still and len(patient.arms) > 0 and states.shape[1] > 8:
                continue  # an arm that is absent, or rests in this episode
            panels += [
                panel("position [m]", STATE_KEY, [s, s + 1, s + 2]),
                panel("move", ACTION_KEY, [a, a + 1, a + 2]),
                panel("quaternion w x y z", STATE_KEY, [s + 3, s + 4, s + 5, s + 6]),
                panel("turn", ACTION_KEY, [a + 3, a + 4, a + 5]),
                panel("gripper", STATE_KEY, [s + 7]),
                panel("gripper move", ACTION_KEY, [a + 6]),
            ]
        return panels
    pairs = {state: action for state, action, _ in patient.paired}
    groups = [list(range(i, min(i + 4, states.shape[1]))) for i in range(0, states.shape[1], 4)]
    panels = [panel("state and action" if pairs else "state", STATE_KEY, dims, pairs) for dims in groups]
    alone = [i for i in range(actions.shape[1]) if i not in pairs.values()]
    panels += [panel("action", ACTION_KEY, alone[i : i + 4]) for i in range(0, len(alone), 4)]
    return panels


def _instruction(patient: Patient) -> str:
    rows = np.flatnonzero(patient.rows.episode == patient.footage.shown_episode)
    if patient.folder.tasks is None or not len(rows):
        return ""
    task = patient.folder.tasks.get(int(patient.rows.counters["task_index"][rows[0]]), "")
    return f"Instruction: {task!r}" if len(task) < 90 else f"Instruction: {task[:87]!r}..."
