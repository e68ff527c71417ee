"""What was measured of peers and other policies, as a table with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resumable import LAST, seconds_per_step
from robosuite_table import wilson

from lerobot_xwam.evaluation_results import EvaluationResults


def found(out: Path, name: str, task: str) -> dict[str, Any] | None:
    """What was measured of a policy in a task; None: nothing."""
    folder = out / "runs" / f"{name}-{task}"
    if not (path := folder / "success/eval_info.json").is_file():
        return None
    results = EvaluationResults.read(path)
    row: dict[str, Any] = {"successes": results.successes, "episodes": results.episodes}
    row["interval"] = wilson(results.successes, results.episodes)
    if (folder / "steps.json").is_file():  # a peer
        steps = json.loads((folder / "steps.json").read_text("utf-8"))["steps"]
        batch = json.loads((folder / "train" / LAST / "train_config.json").read_text("utf-8"))["batch_size"]
        seconds = seconds_per_step(folder / "logs") or float("nan")
        row |= {"steps": steps, "batch_size": batch, "seconds of a step": seconds}
        row["minutes of training"] = steps * seconds / 60
    return row


def markdown(
    rows: dict[str, dict[str, dict[str, Any] | None]],
    peers: list[str],
    tasks: list[str],
    minutes: float,
    episodes: int,
    seed: int,
) -> str:
    """A policy per row, a task per column."""
    lines = [f"| policy | {' | '.join(tasks)} | training |", f"|---|{'---|' * (len(tasks) + 1)}"]
    for name, row in rows.items():
        cells = [cell(row[task]) for task in tasks]
        trained = [f"{task}: {effort(row[task])}" for task in tasks if name in peers and row[task]]
        one = "missing" if name in peers else "one policy for all tasks, see its card"
        lines.append(f"| {name} | {' | '.join(cells)} | {'; '.join(trained) or one} |")
    notes = [
        f"Successes of {episodes} episodes on the same seeds from {seed} up; 95 % Wilson intervals.",
        "Peers have no language: one policy was trained for each task, on that task's demonstrations alone. "
        f"Each got {minutes:g} minutes on this machine, so one peer takes that once per task.",
        "Peers: LeRobot's own code, ResNet18 from nothing with GroupNorm; settings in scripts/peering/ "
        "where they are not LeRobot's defaults. Minutes: steps x median seconds of a step.",
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "missing"
    low, high = row["interval"]
    rate = 100 * row["successes"] / row["episodes"]
    return f"{row['successes']}/{row['episodes']} = {rate:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def effort(row: dict[str, Any] | None) -> str:
    assert row is not None
    return f"{row['steps']} x {row['batch_size']} in {row['minutes of training']:.1f} min"
