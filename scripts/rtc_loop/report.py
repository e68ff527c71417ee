"""rtc.json with every number, rtc.png with the jumps over the delay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lerobot_xwam.files import appearing

COLOURS = {"naive": "tab:red", "prefix": "tab:blue"}
LABELS = {"naive": "naive switching", "prefix": "real-time chunking (prefix)"}


def write_report(out: Path, content: dict[str, Any]) -> None:
    for name in ("rtc.json", "rtc.png"):
        with appearing(out / name) as file:
            if name == "rtc.json":
                file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            else:
                plot(file, content)


def plot(file: Path, content: dict[str, Any]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = content["delays"]
    delays = [row["delay"] for row in rows]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, measure in zip(figure.subplots(1, 2), ("largest", "rms"), strict=True):
        for method, colour in COLOURS.items():
            values = [row[method]["at_borders"][measure] for row in rows]
            axes.plot(delays, values, "o-", color=colour, label=LABELS[method])
        inside = [row["prefix"]["within_chunks"][measure] for row in rows]
        axes.plot(delays, inside, ":", color="tab:gray", label="within chunks (prefix)")
        learnt = content["demonstrations"][measure]
        axes.axhline(learnt, color="tab:gray", linewidth=0.8, label="the motions themselves")
        axes.set(
            xlabel=f"delay of a chunk [actions at {content['fps']} Hz]",
            ylabel="second difference of the actions\n[share of their range]",
            title={"largest": "largest jump where chunks meet", "rms": "RMS where chunks meet"}[measure],
            yscale="log",
            xticks=delays,
        )
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(file, format="png", dpi=120)
