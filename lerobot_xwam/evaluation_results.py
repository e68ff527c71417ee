"""Success rates from the `eval_info.json` of lerobot-eval, and from nowhere else.

The file holds every episode's outcome besides the averages: they must agree, or nothing is printed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROUNDING = 1e-3  # of a percentage in the file


@dataclass(frozen=True)
class TaskResult:
    group: str
    task: str
    successes: int
    episodes: int

    @property
    def percent(self) -> float:
        return 100 * self.successes / self.episodes


@dataclass(frozen=True)
class EvaluationResults:
    tasks: list[TaskResult]
    source: str  # name of the file
    sha256: str  # of its content

    @property
    def successes(self) -> int:
        return sum(task.successes for task in self.tasks)

    @property
    def episodes(self) -> int:
        return sum(task.episodes for task in self.tasks)

    @property
    def percent(self) -> float:
        return 100 * self.successes / self.episodes

    @classmethod
    def read(cls, path: Path) -> EvaluationResults:
        content = path.read_bytes()
        try:
            held = json.loads(content)
            overall = held["overall"]
            tasks = [_task(each) for each in held["per_task"]]
            percent, episodes = float(overall["pc_success"]), int(overall["n_episodes"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}: no eval_info.json of lerobot-eval ({type(error).__name__}: {error}). Results are "
                "taken from such a file only; lerobot-eval writes it into its --output_dir"
            ) from error
        results = cls(tasks, path.name, hashlib.sha256(content).hexdigest())
        if not tasks or not all(task.episodes for task in tasks):
            raise ValueError(f"{path}: holds no episodes; run lerobot-eval with --eval.n_episodes=10 or more")
        agree = abs(results.percent - percent) <= ROUNDING  # NaN agrees with nothing
        if results.episodes != episodes or not agree:
            raise ValueError(
                f"{path}: says {percent:.3f} % of {episodes} episodes, but its episodes are "
                f"{results.successes} successes of {results.episodes}: it was changed or "
                "damaged. Use the file as it was written"
            )
        return results


def _task(held: dict[str, Any]) -> TaskResult:
    outcomes = held["metrics"]["successes"]
    if not all(isinstance(each, bool | int) and each in (0, 1) for each in outcomes):
        raise ValueError("successes that are neither true nor false")
    return TaskResult(str(held["task_group"]), str(held["task_id"]), sum(map(int, outcomes)), len(outcomes))
