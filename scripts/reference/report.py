"""Outcomes as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .measure import Measure, Outcome

NAMES_SHOWN = 4


def table(outcomes: Sequence[Outcome]) -> str:
    """One row per case: name, the worst of its measures against its limit, verdict, and what was compared."""
    rows = [
        ("case", "worst", "limit", "measured as", "verdict", "compared"),
        *(_row(outcome) for outcome in outcomes),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * min(max(map(len, lines)), 120))
    return "\n".join(lines)


def explanations(outcomes: Sequence[Outcome]) -> str:
    """For every failure, each measure above its limit."""
    lines = []
    for outcome in outcomes:
        if outcome.status != "FAIL":
            continue
        lines.append(f"{outcome.name}: {outcome.message}" if outcome.message else f"{outcome.name}:")
        bad = sorted((m for m in outcome.measures if not m.passed), key=lambda m: -m.severity)
        lines += [
            f"    {m.what}: {_number(m.value)} > {_number(m.tolerance)} {m.unit}{_note(m)}" for m in bad[:12]
        ]
        if len(bad) > 12:
            lines.append(f"    ... and {len(bad) - 12} more")
    return "\n".join(lines)


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    count = {status: sum(outcome.status == status for outcome in outcomes) for status in ("PASS", "FAIL")}
    measures = sum(len(outcome.measures) for outcome in outcomes)
    return (
        f"{count['PASS']} cases passed, {count['FAIL']} failed; {measures} measures taken in {seconds:.0f} s"
    )


def write_json(outcomes: Sequence[Outcome], path: Path) -> None:
    """Beside the goal first, then renamed: a reader never sees half a file."""
    text = json.dumps({"cases": [_plain(outcome) for outcome in outcomes]}, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    Path(temporary).chmod(0o644)
    os.replace(temporary, path)


def _row(outcome: Outcome) -> tuple[str, ...]:
    worst = outcome.worst
    if worst is None:
        return outcome.name, "", "", "", outcome.status, outcome.message
    return (
        outcome.name,
        _number(worst.value),
        _number(worst.tolerance),
        worst.unit,
        outcome.status,
        _compared(outcome.measures, worst),
    )


def _compared(measures: Sequence[Measure], worst: Measure) -> str:
    names = [measure.what for measure in measures]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    of = f"; worst: {worst.what}" if worst.value and len(names) > 1 else ""
    return ", ".join(names[:NAMES_SHOWN]) + more + of


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}" if 0.01 <= abs(value) < 1e5 else f"{value:.1e}"


def _note(measure: Measure) -> str:
    return f" ({measure.note})" if measure.note else ""


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "case": outcome.name,
        "status": outcome.status,
        "message": outcome.message,
        "measures": [
            {
                "what": m.what,
                "value": m.value if math.isfinite(m.value) else str(m.value),
                "tolerance": m.tolerance,
                "unit": m.unit,
                "passed": m.passed,
                "note": m.note,
            }
            for m in outcome.measures
        ],
    }
