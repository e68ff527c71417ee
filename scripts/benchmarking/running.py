"""Many evaluations over the GPUs of a machine: a process for each task, and none for what is finished."""

from __future__ import annotations

import importlib.util
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from lerobot_xwam.evaluation_results import EvaluationResults

from .benchmarks import Benchmark, Job

BIN = Path(sys.executable).parent
GUARDED = Path(__file__).with_name("guarded.py")
RESULTS = "eval_info.json"


@dataclass(frozen=True)
class Plan:
    policy: str
    episodes: int
    seed: int
    batch: int
    out: Path
    extra: tuple[str, ...] = ()

    def folder(self, job: Job) -> Path:
        return self.out / "tasks" / job.name

    def log(self, job: Job) -> Path:
        return self.out / "logs" / f"{job.name.replace('/', '-')}.log"

    def results(self, job: Job) -> EvaluationResults | None:
        """Of a finished evaluation; None: it has to be run."""
        file = self.folder(job) / RESULTS
        found = EvaluationResults.read(file) if file.is_file() else None
        return found if found is not None and found.episodes == self.episodes else None

    def command(self, benchmark: Benchmark, job: Job, folder: Path) -> list[str]:
        return [
            str(BIN / "lerobot-eval"),
            f"--policy.path={self.policy}",
            *benchmark.environment(job),
            f"--eval.n_episodes={self.episodes}",
            f"--eval.batch_size={self.batch}",
            f"--seed={self.seed}",
            f"--output_dir={folder}",
            *self.extra,
        ]


def refuse_without(benchmark: Benchmark, jobs: Sequence[Job]) -> None:
    """Before a hundred processes fail, each with its own log: is the simulator there?"""
    if not (BIN / "lerobot-eval").is_file():
        raise ValueError(f"{BIN} has no lerobot-eval: LeRobot is not installed in this environment")
    package = importlib.util.find_spec(benchmark.package)
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            f"{benchmark.name} is not installed: no Python package {benchmark.package!r} in {sys.prefix}, "
            f"nor on PYTHONPATH. {benchmark.install}"
        )
    folders = [Path(place) for place in package.submodule_search_locations]
    absent = [f for f in benchmark.files(jobs) if not any((folder / f).is_file() for folder in folders)]
    if absent:
        raise ValueError(
            f"the package {benchmark.package!r} in {folders[0]} is not that of {benchmark.name}: it has no "
            f"{absent[0]}. {benchmark.install}"
        )


def run_all(
    plan: Plan, benchmark: Benchmark, jobs: Sequence[Job], gpus: Sequence[str], per_gpu: int
) -> dict[Job, str]:
    """Run what is missing; returns what failed, and how."""
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    missing = [job for job in jobs if plan.results(job) is None]
    if missing:
        refuse_without(benchmark, missing)
    for job in missing:
        todo.put(job)
    failed: dict[Job, str] = {}
    running: dict[int, subprocess.Popen[bytes]] = {}
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), desc="tasks", unit="task") as bar:

        def work(gpu: str) -> None:
            while True:
                try:
                    job = todo.get_nowait()
                except queue.Empty:
                    return
                if problem := _run(plan, benchmark, job, gpu, running):
                    failed[job] = problem
                    bar.write(f"{job.name}: {problem}")
                bar.update()

        workers = [threading.Thread(target=work, args=(gpu,)) for gpu in gpus for _ in range(per_gpu)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except KeyboardInterrupt:
            while not todo.empty():
                todo.get()
            for process in list(running.values()):
                os.killpg(process.pid, signal.SIGTERM)
            for worker in workers:
                worker.join()
            raise
    return failed


def _run(
    plan: Plan, benchmark: Benchmark, job: Job, gpu: str, running: dict[int, subprocess.Popen[bytes]]
) -> str | None:
    """One task on one GPU. What a killed run left of it is thrown away: only whole tasks count."""
    folder, log = plan.folder(job), plan.log(job)
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    log.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = plan.command(benchmark, job, partial)
    chosen = {"CUDA_VISIBLE_DEVICES": gpu, "MUJOCO_EGL_DEVICE_ID": gpu} if gpu else {}
    theirs, ours = os.pipe()  # it ends with this process, and with it the command
    with log.open("w", encoding="utf-8") as file, os.fdopen(ours, "wb"), os.fdopen(theirs, "rb"):
        file.write(f"$ {shlex.join(command)}\n\n")
        file.flush()
        process = subprocess.Popen(
            [sys.executable, str(GUARDED), str(theirs), *command],
            pass_fds=(theirs,),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**benchmark.variables, **os.environ, **chosen},
            start_new_session=True,  # its environments are stopped with it
        )
        running[process.pid] = process
        try:
            code = process.wait()
        finally:
            running.pop(process.pid, None)
    if code or not (partial / RESULTS).is_file():
        why = f"exit code {code}" if code else f"wrote no {RESULTS}"
        return f"failed ({why}); see {log}"
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return None
