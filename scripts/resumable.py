"""lerobot-train as a stage that a kill interrupts and the same command continues, exactly."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from pathlib import Path

from stages import Stage, run

BIN = Path(sys.executable).parent
LAST = "checkpoints/last/pretrained_model"
TIMES = re.compile(r"\bupdt_s:(?P<update>[\d.]+) data_s:(?P<data>[\d.]+)")


def trained_steps(output: Path) -> int:
    """Of the last whole checkpoint; 0: there is none."""
    path = output / "checkpoints/last/training_state/training_step.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["step"]) if path.is_file() else 0


def train(fresh: list[str], output: Path, steps: int, position: str, doing: str, logs: Path) -> None:
    """Train to `steps`: from nothing with the command `fresh`, or on from the last checkpoint.

    LeRobot restores weights, optimiser, schedule, random state and the order of the data, and
    tests/test_exact_resume.py holds that down: the run is the one that was never killed.
    """
    done = trained_steps(output)
    if done >= steps:
        return
    command = fresh
    if done:
        # without the program: a wrapper around lerobot-train is kept
        config = output / LAST / "train_config.json"
        command = [*program(fresh), f"--config_path={config}", "--resume=true"]
        doing = f"{doing}, on from step {done}"
    else:
        shutil.rmtree(output, ignore_errors=True)  # LeRobot refuses a folder that exists
    stage = Stage(
        "train",
        doing,
        tuple(command),
        result=output / LAST / "model.safetensors",
        folder=None,
        bar="Training",
    )
    attempts = len(list(logs.glob("train-*.log")))
    run(stage, position, logs / f"train-{attempts}.log")
    if (now := trained_steps(output)) < steps:
        raise ValueError(f"{output}: trained for {now} steps, wanted {steps}")


def program(command: list[str]) -> list[str]:
    """What comes before the first option."""
    return command[: next(i for i, word in enumerate(command) if word.startswith("--"))]


def seconds_per_step(logs: Path) -> float | None:
    """Median over the intervals that LeRobot logged, of all attempts: without start and compilation."""
    found = [
        float(match["update"]) + float(match["data"])
        for path in sorted(logs.glob("train-*.log"))
        for match in TIMES.finditer(path.read_text(encoding="utf-8"))
    ]
    return statistics.median(found) if found else None
