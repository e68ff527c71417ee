"""The tasks: robosuite's scenes with instructions in several wordings. Importing this needs no simulator."""

from __future__ import annotations

from dataclasses import dataclass

ARM_NAMES = ("left", "right")  # in the universal layout a single arm is the left one


@dataclass(frozen=True)
class Task:
    """What is to be done, in which scene, with how many arms and within how many steps."""

    name: str
    scene: (
        str  # a key of simulation.SCENES; tasks with one scene differ in nothing but instruction and success
    )
    arm_count: int
    max_steps: int
    wordings: tuple[str, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, left first."""
        return ARM_NAMES[: self.arm_count]


TASKS = {
    task.name: task
    for task in (
        Task(
            name="lift",
            scene="cubes",
            arm_count=1,
            max_steps=80,
            wordings=(
                "lift the red cube",
                "pick up the red cube",
                "raise the red block off the table",
                "grab the red cube and hold it up",
                "take the red block into the air",
            ),
        ),
        Task(
            name="stack",
            scene="cubes",
            arm_count=1,
            max_steps=160,
            wordings=(
                "stack the red cube on the green cube",
                "put the red cube on top of the green one",
                "place the red block onto the green block",
                "build a tower with the red cube on the green cube",
                "set the red cube down on the green cube",
            ),
        ),
        Task(
            name="pick_place_can",
            scene="can",
            arm_count=1,
            max_steps=350,
            wordings=(
                "put the can into its bin",
                "pick up the can and place it in the right compartment",
                "move the soda can to the other bin",
                "sort the can into the bin where it belongs",
                "take the can and drop it into its place",
            ),
        ),
        Task(
            name="door",
            scene="door",
            arm_count=1,
            max_steps=200,
            wordings=(
                "open the door",
                "turn the handle and open the door",
                "pull the door open",
                "swing the door open by its handle",
            ),
        ),
        Task(
            name="two_arm_lift",
            scene="pot",
            arm_count=2,
            max_steps=160,
            wordings=(
                "lift the pot with both arms",
                "pick up the pot by its two handles",
                "raise the pot together and keep it level",
                "use both arms to lift the pot off the table",
                "grab both handles and lift the pot",
            ),
        ),
    )
}


def get_task(name: str) -> Task:
    """The task of that name."""
    if name not in TASKS:
        raise ValueError(f"task: got {name!r}, but xwam_robosuite has {list(TASKS)}; choose among these.")
    return TASKS[name]


def split_tasks(names: str | None) -> tuple[Task, ...]:
    """The tasks of a comma-separated list."""
    listed = [name.strip() for name in (names or "").split(",") if name.strip()]
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(
            f"task: got {names!r}, wanted one task or several different ones, separated by commas, "
            f"out of {list(TASKS)}."
        )
    return tuple(get_task(name) for name in listed)
