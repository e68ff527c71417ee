"""Instructions: does every frame have one that tells what to do?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..findings import Finding, fine, listed, problem, remark
from ..patient import Patient

PLACEHOLDERS = {"", "task", "test", "todo", "none", "null", "n/a", "na", "dummy", "debug", "default"}
PLACEHOLDERS |= {
    "my task",
    "single task",
    "single_task",
    "task description",
    "lerobot",
    "unknown",
    "foo",
    "tbd",
}
TOKENS_PER_WORD = 1.3


def instructions(patient: Patient) -> Iterator[Finding]:
    tasks, config = patient.folder.tasks, patient.config
    used, first, counts = np.unique(
        patient.rows.counters["task_index"], return_index=True, return_counts=True
    )
    if tasks is None or (lost := [int(i) for i in used if int(i) not in tasks]):
        what = (
            "meta/tasks.parquet is missing or has no instructions" if tasks is None else f"no task {lost[0]}"
        )
        where = "" if tasks is None else patient.rows.place(int(first[list(used).index(lost[0])]))
        yield problem(
            f"{what}: frames have no instruction",
            where=where,
            why="LeRobot stops at these frames",
            fix="write meta/tasks.parquet with a task and a task_index for each",
        )
        return
    empty = [i for i, index in enumerate(used) if not tasks[int(index)].strip()]
    if empty and not config.default_task:
        share = counts[empty].sum() / patient.rows.count
        yield problem(
            f"{share:.0%} of the frames have an empty instruction",
            where=f"first at {patient.rows.place(int(first[empty[0]]))}",
            why="the policy would learn to act without being told, and not to listen",
            fix="--policy.default_task='what the robot does', or write it into a copy of meta/tasks.parquet",
            options=("--policy.default_task='WHAT THE ROBOT DOES'",),
        )
        return
    words = [tasks[int(index)].strip() for index in used]
    meaningless = [word for word in words if word and word.lower().strip(" .!") in PLACEHOLDERS]
    long = [word for word in words if len(word.split()) * TOKENS_PER_WORD > config.text_tokens]
    if meaningless:
        yield remark(
            f"instructions that say nothing: {listed([repr(word) for word in meaningless])}",
            why="the text encoder was trained on sentences; others cannot guess what to tell the policy",
            fix="write what the robot does, e.g. 'put the red cube into the bowl', into a copy of "
            "meta/tasks.parquet",
        )
    elif long:
        yield remark(
            f"{len(long)} instructions are longer than the {config.text_tokens} tokens that are read",
            where=repr(long[0][:60]),
            why="the end is cut off",
            fix="shorten them",
        )
    else:
        yield fine(
            f"{len(words)} instructions, e.g. {words[0]!r}" if words[0] else "instruction: the default task"
        )
