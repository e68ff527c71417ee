"""ablation.json with every number, ablation.md with tables like the paper's, ablation.png with bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lerobot_xwam.files import appearing

from .results import SUCCESS, Result, over_seeds
from .variants import FULL, TABLES, VARIANTS, Variant

UNKNOWN, IMPOSSIBLE = "missing", "–"
# metric: (heading, digits, whether more is better; None: neither is)
COLUMNS: dict[str, tuple[str, int, bool | None]] = {
    SUCCESS: ("success [%] ↑", 1, True),
    "psnr": ("PSNR [dB] ↑", 2, True),
    "abs_rel": ("AbsRel ↓", 4, False),
    "latency": ("latency [ms] ↓", 0, False),
    "step": ("training step [s]", 2, None),
}


def write_report(out: Path, settings: dict[str, Any], results: list[Result], seeds: int) -> str:
    """Three files of the runs that there are. -> the text of ablation.md"""
    text = markdown(settings, results, seeds)
    content = as_json(settings, results)
    for name, written in (("ablation.md", text), ("ablation.json", json.dumps(content, indent=1) + "\n")):
        with appearing(out / name) as file:
            file.write_text(written, encoding="utf-8")
    with appearing(out / "ablation.png") as file:
        plot(file, results)
    return text


def as_json(settings: dict[str, Any], results: list[Result]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name in VARIANTS:
        means = {metric: over_seeds(results, name, metric) for metric in metrics(results)}
        summary[name] = {
            metric: {"mean": mean.mean, "standard error": mean.error, "seeds": mean.count}
            for metric, mean in means.items()
            if mean is not None
        }
    runs = [each.as_json() for each in results]
    return {"settings": published(settings), "summary": summary, "runs": runs}


def published(settings: dict[str, Any]) -> dict[str, Any]:
    """Without the folder on this machine: the mark says which data it was."""
    held_out = settings["held out"]
    return {**settings, "held out": {**held_out, "dataset": Path(held_out["dataset"]).name}}


def metrics(results: list[Result]) -> list[str]:
    """The table's columns, and the success of every task that was evaluated."""
    tasks = {name for each in results for name in each.values if name.startswith(f"{SUCCESS}: ")}
    return [*COLUMNS, *sorted(tasks)]


def markdown(settings: dict[str, Any], results: list[Result], seeds: int) -> str:
    lines = ["# Ablations at small size", ""]
    for title, variants in TABLES.items():
        lines += [
            f"## {title[0].upper()}{title[1:]}",
            "",
            *_table(variants, list(COLUMNS), results, seeds),
            "",
        ]
    tasks = [name for name in metrics(results) if name not in COLUMNS]
    if len(tasks) > 1:
        lines += [
            "## Success of each task [%]",
            "",
            *_table(VARIANTS, tasks, results, seeds),
            "",
        ]
    return "\n".join([*lines, *_notes(settings, results, seeds)]) + "\n"


def _table(variants: dict[str, Variant], columns: list[str], results: list[Result], seeds: int) -> list[str]:
    headings = [
        COLUMNS[name][0] if name in COLUMNS else name.removeprefix(f"{SUCCESS}: ") for name in columns
    ]
    lines = [f"| | {' | '.join(headings)} | episodes |", f"|---|{'---:|' * (len(columns) + 1)}"]
    for name, variant in variants.items():
        cells = [cell(variant, metric, results, seeds) for metric in columns]
        done = [each.episodes for each in results if each.run.variant == variant and each.episodes]
        lines.append(
            f"| {name}{' (ours)' if variant is FULL else ''} | {' | '.join(cells)} | {sum(done) or UNKNOWN} |"
        )
    return lines


def cell(variant: Variant, metric: str, results: list[Result], seeds: int) -> str:
    """mean ± standard error, and how many seeds it is of if not all are there."""
    if metric == "abs_rel" and variant.depth == "none":
        return IMPOSSIBLE
    mean = over_seeds(results, variant.name, metric)
    if mean is None:
        return UNKNOWN
    digits = COLUMNS[metric][1] if metric in COLUMNS else 1
    shown = f"{mean.mean:.{digits}f}"
    if mean.error is not None:
        shown += f" ± {mean.error:.{digits}f}"
    return shown if mean.count == seeds else f"{shown} ({mean.count} of {seeds} seeds)"


def _notes(settings: dict[str, Any], results: list[Result], seeds: int) -> list[str]:
    steps, batch = settings["steps"], settings["batch_size"]
    busy = sum(each.busy for each in results)
    places = sorted({each.measured_on for each in results if each.measured_on})
    windows = sorted({each.windows for each in results if each.windows})
    known = settings["known training scenes"]
    seen = f"none of the {known} scenes trained on" if known else "the training data does not tell its own"
    notes = [
        f"Mean ± standard error over {seeds} training seeds; no ± where there is one only.",
        f"Equal compute means the same samples: every run saw {steps} steps x {batch} = {steps * batch} "
        "windows of the same latent cache. Seconds of a training step: median, as it ran.",
        f"Success: {settings['tasks']}, {settings['episodes of each task']} episodes of each per run, "
        f"the same for all runs: seeds from {settings['first evaluation seed']} up, {seen}.",
        f"PSNR and AbsRel: {' or '.join(map(str, windows)) or 'no'} windows per run of "
        f"{len(settings['held out']['episodes'])} held-out episodes, static cameras, imagined together with "
        "the policy's own actions.",
        f"Denoising steps: {settings['video_steps']} for the video, {settings['action_steps']} for actions; "
        f"synchronous takes {settings['video_steps']} for both, as in the paper.",
        f"Latency: median of one chunk of actions; measured on {'; '.join(places) or 'no machine yet'}."
        + (" SEVERAL MACHINES: these latencies cannot be compared." if len(places) > 1 else "")
        + (f" OTHER WORK RAN MEANWHILE ({busy} runs): too long; see --latency-again." if busy else ""),
        f'"{UNKNOWN}": not measured (yet). "{IMPOSSIBLE}": cannot be, there is no depth.',
    ]
    return [f"- {note}" for note in notes]


def plot(path: Path, results: list[Result]) -> None:
    """Bars with standard errors and the single seeds as dots; what is missing is an empty place."""
    from matplotlib.figure import Figure

    shown = [metric for metric in COLUMNS if metric != "step"]
    figure = Figure(figsize=(3.4 * len(shown), 6.2), layout="constrained")
    axes = figure.subplots(len(TABLES), len(shown))
    for row, (title, variants) in enumerate(TABLES.items()):
        for column, metric in enumerate(shown):
            _bars(axes[row][column], metric, variants, results)
            axes[row][column].set_title(COLUMNS[metric][0], fontsize=10)
        axes[row][0].set_ylabel(title.replace(" (", "\n("), fontsize=9)
    figure.savefig(path, dpi=120, format="png")


def _bars(axes: Any, metric: str, variants: dict[str, Variant], results: list[Result]) -> None:
    axes.set_xticks(range(len(variants)), list(variants), fontsize=8)
    axes.set_xlim(-0.6, len(variants) - 0.4)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    tops: list[float] = []
    lows: list[float] = []
    for place, variant in enumerate(variants.values()):
        mean = over_seeds(results, variant.name, metric)
        if mean is None:
            word = "no depth" if metric == "abs_rel" and variant.depth == "none" else UNKNOWN
            axes.text(
                place, 0.02, word, ha="center", fontsize=7, color="gray", transform=axes.get_xaxis_transform()
            )
            continue
        colour = "#2a6f97" if variant is FULL else "#a9b4bd"
        axes.bar(place, mean.mean, 0.62, color=colour, yerr=mean.error, capsize=3, ecolor="black")
        single = [
            each.values[metric] for each in results if each.run.variant == variant and metric in each.values
        ]
        axes.plot([place] * len(single), single, "o", color="black", markersize=2.5, alpha=0.6)
        tops.append(max([*single, mean.mean + (mean.error or 0.0)]))
        lows.append(min([*single, mean.mean - (mean.error or 0.0)]))
    if metric == SUCCESS:
        axes.set_ylim(0, 100)
    elif metric == "psnr" and tops:  # differences are small against the whole; the axis says where it begins
        room = max(1.0, max(tops) - min(lows))
        axes.set_ylim(max(0.0, min(lows) - room), max(tops) + 0.2 * room)
    elif tops:
        axes.set_ylim(0, 1.12 * max(tops))
