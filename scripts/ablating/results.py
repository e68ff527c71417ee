"""What was measured of a run, read from the files of the tools that measured it; None is what was not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resumable import seconds_per_step

from lerobot_xwam.evaluation_results import EvaluationResults
from lerobot_xwam.world.contest import JOINT

from .variants import Run

SUCCESS = "success"  # of all tasks, in percent; "success: lift" of one
METRICS = ("psnr", "abs_rel", "latency", "step")


@dataclass(frozen=True)
class Result:
    """A run's numbers. A number that is not there was not measured, or cannot be (depth of "none")."""

    run: Run
    values: dict[str, float]
    episodes: int | None  # simulated
    windows: int | None  # imagined
    measured_on: str | None  # of the latency
    busy: bool = False  # other work ran on the machine while the latency was measured

    @classmethod
    def read(cls, run: Run, folder: Path) -> Result:
        values: dict[str, float] = {}
        episodes = windows = measured_on = None
        busy = False
        if (path := folder / "success/eval_info.json").is_file():
            found = EvaluationResults.read(path)
            episodes, values[SUCCESS] = found.episodes, found.percent
            values |= {f"{SUCCESS}: {task.group}": task.percent for task in found.tasks}
        if (path := folder / "imagined/metrics.json").is_file():
            row = json.loads(path.read_text(encoding="utf-8"))["rows"][JOINT]
            windows = int(row["windows"])
            total = {name: row["total"].get(name) for name in ("psnr", "abs_rel")}
            values |= {name: float(value) for name, value in total.items() if value is not None}
        if (path := folder / "latency.json").is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            values["latency"], busy = float(held["median_ms"]), bool(held["busy"])
            measured_on = f"{held['machine']}, {held['device']}, {held['threads']} threads"
        if (step := seconds_per_step(folder / "logs")) is not None:
            values["step"] = step
        return cls(run, values, episodes, windows, measured_on, busy)

    def as_json(self) -> dict[str, Any]:
        variant = self.run.variant
        about = {"variant": variant.name, "depth": variant.depth, "noise_law": variant.noise_law}
        rest = {"episodes": self.episodes, "windows": self.windows, "latency measured on": self.measured_on}
        rest["latency measured on a busy machine"] = self.busy
        return {**about, "seed": self.run.seed, "values": self.values, **rest}


@dataclass(frozen=True)
class Mean:
    """Over the seeds that have the number."""

    mean: float
    error: float | None  # standard error of the mean; None: of one seed it is not known
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean | None:
        if not values:
            return None
        mean = math.fsum(values) / len(values)
        if len(values) == 1:
            return cls(mean, None, 1)
        spread = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
        return cls(mean, math.sqrt(spread / len(values)), len(values))


def over_seeds(results: list[Result], variant: str, metric: str) -> Mean | None:
    return Mean.of(
        [
            each.values[metric]
            for each in results
            if each.run.variant.name == variant and metric in each.values
        ]
    )
