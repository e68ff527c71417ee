"""Both benchmarks: their tasks, and how LeRobot's evaluation is asked for one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lerobot_xwam.benchmarks import robocasa, robotwin

from . import published

# RoboCasa's paper and X-WAM's name its 24 tasks so; RoboCasa365, the version that LeRobot drives, has others.
IN_ROBOCASA365 = {
    "PnPCounterToCab": "PickPlaceCounterToCabinet",
    "PnPCabToCounter": "PickPlaceCabinetToCounter",
    "PnPCounterToSink": "PickPlaceCounterToSink",
    "PnPSinkToCounter": "PickPlaceSinkToCounter",
    "PnPCounterToMicrowave": "PickPlaceCounterToMicrowave",
    "PnPMicrowaveToCounter": "PickPlaceMicrowaveToCounter",
    "PnPCounterToStove": "PickPlaceCounterToStove",
    "PnPStoveToCounter": "PickPlaceStoveToCounter",
}


@dataclass(frozen=True)
class Job:
    """One task in one setting."""

    task: str
    setting: str  # "": there is only one

    @property
    def name(self) -> str:
        return f"{self.setting}/{self.task}" if self.setting else self.task


@dataclass(frozen=True)
class Benchmark:
    name: str
    tasks: tuple[str, ...]
    settings: tuple[str, ...]
    environment: Callable[[Job], list[str]]  # options of lerobot-eval
    published: Mapping[Job, float]  # the paper's rates, in percent
    average: Mapping[str, float]  # setting -> the paper's
    differs: tuple[str, ...]  # from the paper's protocol, said under the table
    variables: Mapping[str, str]  # of the process
    package: str  # of Python, that its simulator comes with
    install: str  # where to get it, in words
    files: Callable[[Sequence[Job]], list[str]]  # that the package must have, for these jobs

    def jobs(self, tasks: list[str] | None = None, settings: list[str] | None = None) -> list[Job]:
        for what, given, known in (("--tasks", tasks, self.tasks), ("--settings", settings, self.settings)):
            if strange := set(given or ()) - set(known):
                raise ValueError(f"{what} {sorted(strange)}: {self.name} has {', '.join(known)}")
        return [Job(task, setting) for setting in settings or self.settings for task in tasks or self.tasks]


def _robocasa(job: Job) -> list[str]:
    return [
        "--env.type=robocasa",
        f"--env.task={IN_ROBOCASA365.get(job.task, job.task)}",
        f"--env.camera_name={','.join(robocasa.CAMERAS)}",
        f"--env.episode_length={robocasa.MAX_STEPS[job.task]}",
    ]


def _robotwin(job: Job) -> list[str]:
    return [
        "--env.type=xwam_robotwin",
        f"--env.task={job.task}",
        f"--env.camera_names={','.join(robotwin.CAMERAS)}",
        f"--env.task_config=demo_{job.setting}",
        f"--env.actions_per_chunk={robotwin.ACTIONS_PER_CHUNK}",
    ]


BENCHMARKS = {
    "robocasa": Benchmark(
        name="RoboCasa",
        tasks=tuple(robocasa.MAX_STEPS),
        settings=("",),
        environment=_robocasa,
        published={},
        average={"": published.ROBOCASA_AVERAGE},
        differs=(
            "LeRobot drives RoboCasa365: tasks that it renamed are run under their new names, those that "
            "it no "
            "longer has are listed as failed",
            f"the paper's object split {robocasa.OBJECT_SPLIT} and kitchens {robocasa.LAYOUTS_AND_STYLES} "
            "cannot be "
            "chosen through LeRobot's environment",
        ),
        variables={"MUJOCO_GL": "egl"},
        package="robocasa",
        install="Clone https://github.com/robocasa/robocasa, install it with pip and download its assets, as "
        "its README says",
        files=lambda jobs: [],
    ),
    "robotwin": Benchmark(
        name="RoboTwin 2.0",
        tasks=tuple(published.ROBOTWIN),
        settings=published.ROBOTWIN_SETTINGS,
        environment=_robotwin,
        published={
            Job(task, setting): rate
            for task, rates in published.ROBOTWIN.items()
            for setting, rate in zip(published.ROBOTWIN_SETTINGS, rates, strict=True)
        },
        average=dict(zip(published.ROBOTWIN_SETTINGS, published.ROBOTWIN_AVERAGE, strict=True)),
        differs=("RoboTwin's own protocol skips seeds that its expert cannot solve; LeRobot's takes all",),
        variables={"LEROBOT_ROBOTWIN_OFFICIAL_INSTRUCTION": "1"},
        package="envs",
        install="Install RoboTwin 2.0 and its assets (https://robotwin-platform.github.io) and put its "
        "folder, the one with envs/ in it, on PYTHONPATH",
        files=lambda jobs: sorted({f"{job.task}.py" for job in jobs}),
    ),
}
