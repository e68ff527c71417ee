"""The simulating processes: each gets a task and a seed, stages the episode, and says how it went.

They end with the process that started them, also if that is killed: they look at every step.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from lerobot_xwam.collecting.settings import Settings

Job = tuple[str, int]  # task, seed


class Workers:
    """Processes that are given jobs and report (task, seed, steps; 0 steps: the expert failed)."""

    def __init__(self, processes: list[BaseProcess], pipes: list[Connection]) -> None:
        self._processes = processes
        self._pipes = pipes
        self._jobs: dict[Connection, Job] = {}

    @property
    def idle(self) -> list[Connection]:
        """Those that can be given a job."""
        return [pipe for pipe in self._pipes if pipe not in self._jobs]

    @property
    def busy(self) -> bool:
        """Whether a report is to come."""
        return bool(self._jobs)

    def give(self, worker: Connection, job: Job) -> None:
        """Start a job."""
        self._jobs[worker] = job
        worker.send(job)

    def reports(self) -> Iterator[tuple[Job, int]]:
        """Waits for at least one job to end. What went wrong in a worker is raised here."""
        for ready in wait(list(self._jobs)):
            assert isinstance(ready, Connection)
            job = self._jobs.pop(ready)
            try:
                outcome = ready.recv()
            except (EOFError, OSError) as error:
                raise OSError(
                    f"the worker that collected {job[0]} with seed {job[1]} died (out of memory?); the same "
                    "command goes on from here, perhaps with fewer --workers"
                ) from error
            if isinstance(outcome, Exception):
                raise outcome
            yield job, outcome


@contextmanager
def started(count: int, settings: Settings, folder: Path) -> Iterator[Workers]:
    """So many workers, which are ended on leaving, whatever happens."""
    context = multiprocessing.get_context("spawn")  # a fork would share OpenGL's and torch's threads
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    try:
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, settings, folder, os.getpid()), daemon=True)
            process.start()
            there.close()  # else its end would never be noticed
            processes.append(process)
            pipes.append(here)
        yield Workers(processes, pipes)
    finally:
        for each in processes:
            each.terminate()
        for each in processes:
            each.join()
        for pipe in pipes:
            pipe.close()


def _work(pipe: Connection, settings: Settings, folder: Path, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's rasteriser: the workers share the cores

    from lerobot_xwam.collecting.episode import attempt, make_env
    from lerobot_xwam.collecting.staging import write_episode, write_failure
    from lerobot_xwam.envs.robosuite.env import RobosuiteEnv

    def end_with_parent() -> None:
        if os.getppid() != parent:
            os._exit(1)  # nothing of the episode is on the disk yet

    envs: dict[str, RobosuiteEnv] = {}
    while True:
        try:
            task, seed = pipe.recv()
        except EOFError:
            sys.exit(0)
        try:
            if task not in envs:
                envs[task] = make_env(settings, task)
            episode = attempt(envs[task], settings, seed, end_with_parent)
            end_with_parent()
            if episode is None:
                write_failure(folder, task, seed)
            else:
                write_episode(folder, episode)
            pipe.send(0 if episode is None else len(episode))
        except Exception as error:  # whatever it is, it is raised again where the user sees it
            pipe.send(_plain(error))


def _plain(error: Exception) -> Exception:
    """The error as something that can be sent."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    kind = ValueError if isinstance(error, ValueError) else RuntimeError
    return kind(str(error) if kind is ValueError else f"{type(error).__name__}: {error}")
