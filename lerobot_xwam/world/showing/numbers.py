"""How close the futures came to what happened, beside a world in which nothing moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lerobot_xwam.world.report import as_json
from lerobot_xwam.world.scores import Table, Window, score

from .exhibition import Exhibition, first_frames

STILL = "nothing moved"


def compare(exhibition: Exhibition) -> Table | None:
    """Scores of every future that can be held against the truth; None: nothing is known of it."""
    truth = exhibition.truth
    if truth is None or truth.frames < 2 or not exhibition.followed:
        return None
    rows = [truth.standing_still(STILL)]
    rows += [
        first_frames(each, truth.frames) for each in exhibition.futures if each.name in exhibition.followed
    ]
    scene = exhibition.scene
    if not scene.static:  # then pictures of cameras that move are better than no number
        scene = replace(scene, static=truth.cameras)
    windows = [Window(each.name, 0, 0, score(each, truth, scene)) for each in rows]
    return Table(windows, truth.seconds)


def as_report(table: Table | None, facts: dict[str, Any]) -> dict[str, Any]:
    """The first future's numbers by their names, those of a still world beside them, then everything."""
    if table is None:
        return {"facts": facts}
    first = next(row for row in table.rows if row != STILL)
    report: dict[str, Any] = {}
    for metric in table.metrics:
        report[metric] = table.total(first, metric)
        report[f"{metric}_if_nothing_moved"] = table.total(STILL, metric)
    everything = as_json(table, facts)
    return report | {key: everything[key] for key in ("facts", "seconds_per_step", "rows")}
