"""What was found, as one JSON, one page of tables, and one picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from robosuite_table import wilson

from lerobot_xwam.files import appearing
from lerobot_xwam.world.contest import GIVEN, JOINT, KEPT, STILL, STILL_CODEC
from lerobot_xwam.world.report import DIGITS, HEADINGS
from lerobot_xwam.world.scores import CEILING, HIGHER_IS_BETTER

from .answers import counts
from .picture import draw

OURS = [form.format(row) for row in (JOINT, GIVEN) for form in ("{}", KEPT)]
ROWS = [STILL, STILL_CODEC, *OURS, CEILING]
JUDGED = ("psnr", "ssim", "abs_rel", "delta_1", "chamfer")
Json = dict[str, Any]


def write_report(out: Path, tasks: list[str], metrics: Json, pairs: list[Json], about: Json) -> str:
    """evidence.json, evidence.md and evidence.png. -> the text of evidence.md"""
    summary = {"prediction": prediction(metrics, tasks), "actions": of_actions(pairs)}
    text = markdown(metrics, summary, about)
    whole = {"facts": {**metrics["facts"], **about}, **summary, "pairs": pairs}
    for name, content in (
        ("evidence.md", text),
        ("evidence.json", json.dumps(whole, indent=1, allow_nan=False) + "\n"),
    ):
        with appearing(out / name) as file:
            file.write_text(content, encoding="utf-8")
    with appearing(out / "evidence.png") as file:
        draw(file, metrics, pairs, sorted((out / "actions").glob("*.png")))
    return text


# --- the imagined against what was recorded


def prediction(metrics: Json, tasks: list[str]) -> Json:
    """Totals and steps of every row, who beats standing still in what, and the totals of each task."""
    rows = {row: {key: held[key] for key in ("windows", "total", "per_step")} for row, held in _rows(metrics)}
    beats = {
        row: {
            metric: better(metric, rows[row]["total"][metric], rows[STILL]["total"][metric])
            for metric in JUDGED
            if rows[row]["total"].get(metric) is not None
        }
        for row in rows
        if row != STILL
    }
    return {"rows": rows, "beats repeating the last frame": beats, "tasks": by_task(metrics, tasks)}


def by_task(metrics: Json, tasks: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """task -> row -> metric -> mean over windows and steps"""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task in dict.fromkeys(tasks):
        for row, _ in _rows(metrics):
            held = [
                window["values"]
                for window in metrics["windows"]
                if window["row"] == row and tasks[window["episode"]] == task
            ]
            means = {metric: mean([v for each in held for v in each.get(metric, [])]) for metric in JUDGED}
            known = {metric: value for metric, value in means.items() if value is not None}
            found.setdefault(task, {})[row] = known
    return found


def better(metric: str, value: float, other: float) -> bool:
    return value > other if HIGHER_IS_BETTER[metric] else value < other


def _rows(metrics: Json) -> list[tuple[str, Json]]:
    return [(row, metrics["rows"][row]) for row in ROWS if row in metrics["rows"]]


# --- opposite actions


def of_actions(pairs: list[Json]) -> Json:
    """Summaries of every kind of probe, and of all."""
    kinds = dict.fromkeys(pair["kind"] for pair in pairs)
    return {
        "all": summary(pairs),
        **{kind: summary([pair for pair in pairs if pair["kind"] == kind]) for kind in kinds},
    }


def summary(pairs: list[Json]) -> Json:
    sides = [side for pair in pairs for side in pair["sides"]]
    moved = [side for side in sides if counts(side)]
    both = [pair for pair in pairs if all(counts(side) for side in pair["sides"])]
    found: Json = {
        "pairs": len(pairs),
        "sides": len(sides),
        "sides that moved as told": len(moved),
        "imagined moves with the command": share(moved, lambda s: s["imagined along the command"] > 0),
        "opposite commands, opposite ways": share(
            both, lambda p: all(side["imagined along the command"] > 0 for side in p["sides"])
        ),
        "pictures nearer to own truth than to the opposite's": share(
            moved, lambda s: (s["pictures: own truth"] or 0) > (s["pictures: the other's"] or 0)
        ),
    }
    for name in ("cosine with the command", "cosine with the simulator's", "error", "error if nothing moved"):
        found[name] = mean([side[name] for side in moved])
    for name in ("pictures: own truth", "pictures: the other's"):
        found[name] = mean([side[name] for side in moved])
    for name in {key: None for pair in both for key in pair if ":" in key}:
        found[f"{name}, last frame"] = mean([pair[name][-1] for pair in both if name in pair])
    return found


def share(cases: list[Any], holds: Callable[[Any], bool]) -> Json:
    right = sum(map(holds, cases))
    return {"right": right, "of": len(cases), "interval": wilson(right, len(cases)) if cases else None}


def mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# --- in words


def markdown(metrics: Json, found: Json, about: Json) -> str:
    told, facts = found["prediction"], metrics["facts"]
    lines = ["# Is the imagined world true?", "", "## Imagined and recorded", "", *_totals(told), ""]
    lines += [*_verdict(told), "", "### At every step", "", *_steps(told, metrics["seconds_per_step"]), ""]
    lines += ["### In every task", "", *_tasks(told), "", "## Other actions", "", *_actions(found["actions"])]
    notes = {key: facts[key] for key in ("policy", "dataset", "windows", "video_steps", "held out")} | about
    return "\n".join([*lines, "", *(f"- {key}: {value}" for key, value in notes.items())]) + "\n"


def _totals(told: Json) -> list[str]:
    totals = {row: held["total"] for row, held in told["rows"].items()}
    return table(
        "", {row: [_number(metric, held.get(metric)) for metric in JUDGED] for row, held in totals.items()}
    )


def table(corner: str, rows: dict[str, list[str]], columns: list[str] | None = None) -> list[str]:
    if columns is None:
        columns = [f"{HEADINGS[m]} {'↑' if HIGHER_IS_BETTER[m] else '↓'}" for m in JUDGED]
    head = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    return head + [f"| {row} | {' | '.join(cells)} |" for row, cells in rows.items()]


def _verdict(told: Json) -> list[str]:
    lines = []
    for row in OURS:
        if row not in told["rows"]:
            continue
        won = [HEADINGS[m] for m, wins in told["beats repeating the last frame"][row].items() if wins]
        lost = [HEADINGS[m] for m, wins in told["beats repeating the last frame"][row].items() if not wins]
        line = f"- **{row}** beats repeating the last frame in {', '.join(won) or 'nothing'}"
        lines.append(line + (f"; not in {', '.join(lost)}." if lost else "."))
    return lines


def _steps(told: Json, seconds: float) -> list[str]:
    count = len(next(iter(told["rows"].values()))["per_step"]["psnr"])
    rows = {}
    for metric in JUDGED:
        for row, held in told["rows"].items():
            if (values := held["per_step"].get(metric)) is not None:
                rows[f"{HEADINGS[metric]}, {row}"] = [_number(metric, value) for value in values]
    return table("", rows, [f"{seconds * step:.2f} s" for step in range(1, count + 1)])


def _tasks(told: Json) -> list[str]:
    rows = {
        f"{task}: {row}": [_number(metric, held.get(metric)) for metric in JUDGED]
        for task, each in told["tasks"].items()
        for row, held in each.items()
    }
    return table("", rows)


def _actions(found: Json) -> list[str]:
    columns = list(found)
    rows: dict[str, list[str]] = {}
    for name in dict.fromkeys(key for each in found.values() for key in each):
        rows[name] = [_cell(found[column].get(name)) for column in columns]
    return table("", rows, columns)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        if not value["of"]:
            return "–"
        low, high = value["interval"]
        return f"{value['right']}/{value['of']} ({100 * low:.0f} to {100 * high:.0f} %)"
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _number(metric: str, value: float | None) -> str:
    return "–" if value is None else f"{value:.{DIGITS.get(metric, 4)}f}"
