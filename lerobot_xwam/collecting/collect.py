"""Collects episodes into a new dataset, going on where a killed run stopped.

Everything happens in OUT.partial: episodes are staged there, each in a file of its own; at the end the
dataset is made of them and renamed to OUT.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lerobot_xwam.collecting.dataset import assemble
from lerobot_xwam.collecting.schedule import TaskSchedule, interleaved, schedules
from lerobot_xwam.collecting.settings import Settings
from lerobot_xwam.collecting.staging import staged
from lerobot_xwam.collecting.workers import Workers, started
from lerobot_xwam.envs.robosuite.experts.play import STEPS as PLAYED
from lerobot_xwam.files import appearing, held, saying_what_is_kept
from lerobot_xwam.weights.output_folder import refuse_existing, require_space

# Bytes per pixel and camera, measured at 96x128: colour and depth, compressed; video in the dataset.
STAGED_RGB, STAGED_DEPTH, ENCODED = 2.0, 1.2, 0.4
TYPICAL_STEPS = {"lift": 48, "stack": 82, "two_arm_lift": 58, "pick_place_can": 120, "door": 76}
HOPELESS = 20  # so many failures and not one success: something is wrong


def collect(settings: Settings, episodes: int, out: Path, workers: int) -> dict[str, Any]:
    """Write the dataset `out`; returns its meta/collected.json."""
    if episodes < 1:
        raise ValueError(f"--episodes {episodes}: at least one is needed")
    if workers < 1:
        raise ValueError(f"--workers {workers}: at least one is needed")
    refuse_existing(out)
    partial = out.parent / f"{out.name}.partial"
    keeping = saying_what_is_kept(out, lambda: f"{kept_so_far(out)} episodes are kept in {partial}")
    with _opened(partial, settings), keeping:
        folder = partial / "episodes"
        folder.mkdir(exist_ok=True)
        plan = _resumed(settings, episodes, folder)
        _require_room(settings, plan, partial)
        _simulate(plan, settings, folder, workers)
        for one in plan:
            print(_line(one, settings.plays))
        about = {**_statistics(plan), "settings": {name: getattr(settings, name) for name in _NAMES}}
        unfinished = partial / "dataset"
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed while writing it
        about = assemble(folder, interleaved(plan), settings, unfinished, out.name, about)
        refuse_existing(out)
        os.rename(unfinished, out)
        shutil.rmtree(partial)
    return about


_NAMES = tuple(Settings.__dataclass_fields__)


def kept_so_far(out: Path) -> int:
    """How many episodes are staged for a dataset that is not complete."""
    return len(list((out.parent / f"{out.name}.partial" / "episodes").glob("*.npz")))


def _resumed(settings: Settings, episodes: int, folder: Path) -> list[TaskSchedule]:
    for left in folder.glob(".*"):
        left.unlink()  # half an episode of a killed run
    plan = schedules(settings.tasks, settings.seed, episodes)
    for one in plan:
        one.kept, one.failed = staged(folder, one.task)
    return plan


def _simulate(plan: list[TaskSchedule], settings: Settings, folder: Path, count: int) -> None:
    """Stage what is missing."""
    by_task = {one.task: one for one in plan}
    total = sum(one.wanted for one in plan)
    before = sum(len(one.chosen) for one in plan)
    missing = total - before
    if missing == 0:
        return
    with (
        started(min(count, missing), settings, folder) as workers,
        tqdm(total=total, initial=before, desc="collecting", unit="episode") as bar,
    ):
        _hand_out(workers, plan)
        while workers.busy:
            for (task, seed), steps in workers.reports():
                by_task[task].settle(seed, steps > 0)
                bar.update(int(steps > 0))
                bar.set_postfix_str(f"{sum(len(one.failed) for one in plan)} failed")
                _give_up_if_hopeless(by_task[task])
            _hand_out(workers, plan)


def _hand_out(workers: Workers, plan: list[TaskSchedule]) -> None:
    """The task that is furthest behind comes first."""
    for worker in workers.idle:
        for one in sorted(plan, key=lambda each: (len(each.kept) + len(each.running)) / max(each.wanted, 1)):
            if (seed := one.next_seed()) is not None:
                workers.give(worker, (one.task, seed))
                break


def _give_up_if_hopeless(one: TaskSchedule) -> None:
    if not one.kept and len(one.failed) >= HOPELESS:
        raise ValueError(f"task {one.task}: the expert failed on all of {len(one.failed)} seeds; stopped")


def _statistics(plan: list[TaskSchedule]) -> dict[str, Any]:
    return {
        "tasks": {
            one.task: {
                "kept": len(one.chosen),
                "dropped": len(one.failed),
                "dropped_seeds": sorted(one.failed),
            }
            for one in plan
        }
    }


def _line(one: TaskSchedule, plays: bool) -> str:
    if plays:
        return f"{one.task}: {len(one.chosen)} episodes of play"
    tried = len(one.kept) + len(one.failed)
    share = f", the expert succeeds in {len(one.kept) / tried:.0%}" if tried else ""
    return f"{one.task}: {len(one.chosen)} episodes kept, {len(one.failed)} failed and dropped{share}"


def _require_room(settings: Settings, plan: list[TaskSchedule], partial: Path) -> None:
    """Says how much disk it takes; refuses if there is not so much."""
    height, width = settings.size
    pixels = height * width * len(settings.cameras)
    steps = {one.task: PLAYED if settings.plays else TYPICAL_STEPS[one.task] for one in plan}
    missing = sum((one.wanted - len(one.chosen)) * steps[one.task] for one in plan)
    wanted = sum(one.wanted * steps[one.task] for one in plan)
    staging = missing * pixels * (STAGED_RGB + STAGED_DEPTH * settings.depth)
    final = wanted * pixels * ENCODED
    require_space({partial: int(staging + final)})
    print(
        f"about {wanted} steps: up to {staging / 1e9:.2f} GB more while collecting, "
        f"{final / 1e9:.2f} GB in the end"
    )


@contextmanager
def _opened(partial: Path, settings: Settings) -> Iterator[None]:
    """The staging folder, locked: a new one, or one that a stopped run left with the same settings."""
    with held(partial):
        known = partial / "settings.json"
        if known.is_file():
            if changes := settings.differences(known.read_text(encoding="utf-8")):
                raise ValueError(
                    f"{partial} holds episodes that were collected otherwise:\n  "
                    + "\n  ".join(changes)
                    + "\nUse the same settings, choose another folder with --out, or remove it"
                )
        elif any(not path.name.startswith(".") for path in partial.iterdir()):
            raise FileExistsError(f"{partial}: a folder with other things in it; choose another with --out")
        else:
            with appearing(known) as path:
                path.write_text(settings.to_json(), encoding="utf-8")
        yield
