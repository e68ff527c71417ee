"""The two tasks and their wordings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "blue")


@dataclass(frozen=True)
class Task:
    """What is to be done, with how many arms."""

    name: str
    arms: tuple[str, ...]
    wordings: tuple[str, ...]
    default_cameras: tuple[str, ...]

    def instruction(self, colour: str, rng: np.random.Generator) -> str:
        """One of the wordings; tasks that name a cube get its colour filled in."""
        return self.wordings[int(rng.integers(len(self.wordings)))].format(colour=colour)


TASKS = {
    "lift": Task(
        name="lift",
        arms=("left",),  # in the universal layout a single arm is the left one
        wordings=(
            "lift the {colour} cube",
            "pick up the {colour} cube",
            "raise the {colour} block",
            "grab the {colour} cube and lift it",
            "take the {colour} block off the table",
        ),
        default_cameras=("front", "left", "wrist"),
    ),
    "lift_two_arms": Task(
        name="lift_two_arms",
        arms=("left", "right"),
        wordings=(
            "lift both cubes",
            "pick up both cubes, one with each arm",
            "raise the two blocks together",
            "use both arms to lift the cubes",
        ),
        default_cameras=("front", "wrist_left", "wrist_right"),
    ),
}


def get_task(name: str) -> Task:
    """The task of that name."""
    if name not in TASKS:
        raise ValueError(
            f"task: got {name!r}, but the tabletop world has {sorted(TASKS)}; choose one of these."
        )
    return TASKS[name]
