"""The evidence as one picture: numbers over the horizon, motions imagined and done, and two futures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lerobot_xwam.world.contest import GIVEN, JOINT, KEPT, STILL, STILL_CODEC
from lerobot_xwam.world.report import HEADINGS
from lerobot_xwam.world.scores import CEILING, HIGHER_IS_BETTER

METRICS = ("psnr", "ssim", "abs_rel", "chamfer")
LOOKS: dict[str, dict[str, Any]] = {
    STILL: {"color": "#8d96a3", "linestyle": "-"},
    STILL_CODEC: {"color": "#8d96a3", "linestyle": ":"},
    JOINT: {"color": "#3f72dc", "linestyle": "-"},
    GIVEN: {"color": "#e0701a", "linestyle": "-"},
    KEPT.format(JOINT): {"color": "#3f72dc", "linestyle": "--"},
    KEPT.format(GIVEN): {"color": "#e0701a", "linestyle": "--"},
    CEILING: {"color": "#2e9d5b", "linestyle": ":"},
}
KINDS = {"recorded": "#555555", "x": "#d1495b", "y": "#2e9d5b", "z": "#3f72dc"}
SHOWN = "y"  # the pair of which there is a picture: sideways is what a camera in front sees best
Json = dict[str, Any]


def draw(path: Path, metrics: Json, pairs: list[Json], strips: list[Path]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.35])
    for axes, metric in zip(upper.subplots(1, len(METRICS)), METRICS, strict=True):
        _horizon(axes, metrics, metric)
    handles, labels = upper.axes[0].get_legend_handles_labels()
    upper.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    left, middle, right = lower.subplots(1, 3, width_ratios=[1, 1, 1.45])
    _motions(left, pairs)
    _likeness(middle, pairs)
    _futures(right, strips)
    figure.savefig(path, dpi=110, format="png")


def _horizon(axes: Any, metrics: Json, metric: str) -> None:
    seconds = np.zeros(0)
    for row, look in LOOKS.items():
        values = metrics["rows"].get(row, {}).get("per_step", {}).get(metric)
        if values is not None:
            seconds = (np.arange(len(values)) + 1) * metrics["seconds_per_step"]
            axes.plot(seconds, np.array(values, dtype=float), marker=".", label=row, **look)
    better = "higher" if HIGHER_IS_BETTER[metric] else "lower"
    axes.set_title(f"{HEADINGS[metric]} ({better} is better)", fontsize=10)
    axes.set_xticks(seconds)
    axes.set_xlabel("seconds imagined", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _motions(axes: Any, pairs: list[Json]) -> None:
    """Along the first side's command: its opposite lies on the other side of zero."""
    reach = 0.01
    for kind, colour in KINDS.items():
        sides = [
            (sign * side["simulated along the command"], sign * side["imagined along the command"])
            for pair in pairs
            if pair["kind"] == kind
            for sign, side in zip((1, -1), pair["sides"], strict=True)
        ]
        if sides:
            done, imagined = 100 * np.array(sides).T
            reach = max(reach, float(np.abs(sides).max()))
            axes.plot(done, imagined, "o", color=colour, markersize=4, alpha=0.75, label=kind)
    ends = np.array([-105, 105]) * reach
    axes.plot(ends, ends, color="#999999", linewidth=0.8, zorder=0)
    axes.axhline(0, color="#cccccc", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set_title("how far the hand goes along the command", fontsize=10)
    axes.set_xlabel("in the simulator [cm]", fontsize=8)
    axes.set_ylabel("imagined [cm]", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, title="actions", title_fontsize=8)
    axes.set_aspect("equal", adjustable="box")


def _likeness(axes: Any, pairs: list[Json]) -> None:
    """Each dot is a future: nearer to its own truth lies above the diagonal."""
    for kind, colour in KINDS.items():
        dots = [
            (side["pictures: the other's"], side["pictures: own truth"])
            for pair in pairs
            if pair["kind"] == kind
            for side in pair["sides"]
            if side["pictures: own truth"] is not None and side["pictures: the other's"] is not None
        ]
        if dots:
            other, own = np.array(dots).T
            axes.plot(other, own, "o", color=colour, markersize=4, alpha=0.75, label=kind)
    axes.plot([-1, 1], [-1, 1], color="#999999", linewidth=0.8, zorder=0)
    axes.set_xlim(-0.4, 1)
    axes.set_ylim(-0.4, 1)
    axes.set_title("how the imagined change of pictures correlates", fontsize=10)
    axes.set_xlabel("with what the opposite actions change", fontsize=8)
    axes.set_ylabel("with what these actions change", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_aspect("equal", adjustable="box")


def _futures(axes: Any, strips: list[Path]) -> None:
    from PIL import Image

    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if strips:
        axes.set_title("one moment, two futures, one camera", fontsize=10)
        picture = np.asarray(Image.open(strips[0]))
        axes.imshow(picture, interpolation="nearest")
        rows = [f"{who}\n{sign}{SHOWN}" for sign in "+-" for who in ("simulated", "imagined")]
        axes.set_yticks((np.arange(len(rows)) + 0.5) * len(picture) / len(rows), rows, fontsize=8)
        axes.tick_params(length=0)
