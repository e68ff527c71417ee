"""scripts/eval_robocasa.sh and eval_robotwin.sh as they are called: killed, resumed, misused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarking import published
from test_benchmark_table import FAKE, fake_packages

from lerobot_xwam.benchmarks import robocasa

SCRIPTS = Path(__file__).parent.parent / "scripts"
TASKS = {"robocasa": tuple(robocasa.MAX_STEPS), "robotwin": tuple(published.ROBOTWIN)}
HANGS = {"robocasa": "CloseDrawer", "robotwin": "lift_pot"}


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with our packages and a lerobot-eval of its own, which lib.sh takes for finished."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    here = sysconfig.get_path("purelib")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    fake = folder / "bin" / "lerobot-eval"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    stamp = f'source "{SCRIPTS}/lib.sh"; fingerprint "$VENV/bin/python" >"$STAMP"'
    subprocess.run(["bash", "-c", stamp], check=True, env={**os.environ, "XWAM_VENV": str(folder)})
    return folder


@pytest.fixture
def environment(venv: Path, tmp_path: Path) -> dict[str, str]:
    """No packages of the system are installed for this: `uname` says that it is none of Debian's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uname").write_text("#!/bin/sh\necho Elsewhere\n")
    (tmp_path / "bin" / "uname").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "XWAM_VENV": str(venv),
        "PYTHONPATH": str(fake_packages(tmp_path / "simulators")),
        "FAKE_CALLS": str(tmp_path / "calls"),
    }


def called(calls: Path) -> list[str]:
    held = [json.loads(line) for line in calls.read_text().splitlines()]
    calls.unlink()
    return [f"{options.get('env.task_config', '')} {task}".strip() for task, options, _ in held]


def finished(out: Path) -> int:
    found = (out / "tasks").rglob("eval_info.json")
    return sum(not file.parent.name.startswith(".") for file in found)


@pytest.mark.slow
@pytest.mark.timeout(900)  # each call imports LeRobot, which takes a minute on a busy machine
@pytest.mark.parametrize("name", ["robocasa", "robotwin"])
def test_killed_and_started_again_it_does_what_is_missing(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    out, calls = tmp_path / "out", tmp_path / "calls"
    command = ["bash", str(SCRIPTS / f"eval_{name}.sh"), "--policy", "me/policy", "--out", str(out)]
    command += ["--episodes", "4", "--gpus", "0", "1", "--per-gpu", "2"]
    hangs = {**environment, "FAKE_HANGS": HANGS[name]}
    process = subprocess.Popen(command, env=hangs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        settings = {"robocasa": 1, "robotwin": 2}[name]
        wanted = settings * (len(TASKS[name]) - 1)
        start = time.monotonic()
        while finished(out) < wanted:
            assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() - start < 300
            time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2 * settings  # a guard and a lerobot-eval each
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive, "what was evaluating went on"
    assert len(called(calls)) == wanted + settings
    assert not (out / "table.md").exists()

    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = called(calls)
    expected = {
        "robocasa": [HANGS[name]],
        "robotwin": [f"demo_{s} lift_pot" for s in ("clean", "randomized")],
    }
    assert sorted(again) == expected[name]
    table = (out / "table.md").read_text()
    for task in TASKS[name]:
        assert f"\n| {task} | 50.0 % (15 to 85) | " in table
    average = {"robocasa": "79.2 %", "robotwin": "89.8 %"}[name]
    assert average in table and "the paper's" in table and "not measured here" in table
    assert table in done.stdout
    assert len(list((out / "tasks").rglob("videos"))) == wanted + settings
    assert not list((out / "tasks").rglob(".*"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # each call imports LeRobot, which takes a minute on a busy machine
def test_an_interrupt_stops_what_is_evaluating(environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["bash", str(SCRIPTS / "eval_robocasa.sh"), "--policy", "p", "--out", str(out)]
    command += ["--tasks", "CloseDrawer", "OpenDrawer"]
    hangs = {**environment, "FAKE_HANGS": "CloseDrawer"}
    # Who starts pytest in the background of a shell has SIGINT ignored, and so would its children.
    hear: Any = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(
        command, env=hangs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **hear
    )
    start = time.monotonic()
    while not (tmp_path / "calls").exists():
        assert process.poll() is None and time.monotonic() - start < 300
        time.sleep(0.05)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in error and "Traceback" not in error
    _, alive = psutil.wait_procs(below, timeout=30)
    assert not alive


@pytest.mark.parametrize("name", ["robocasa", "robotwin"])
def test_help_installs_nothing(name: str, tmp_path: Path) -> None:
    venv = tmp_path / "none"
    done = subprocess.run(
        ["bash", str(SCRIPTS / f"eval_{name}.sh"), "--help"],
        env={**os.environ, "XWAM_VENV": str(venv)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and f"eval_{name}.sh --policy CHECKPOINT" in done.stdout, done.stderr
    assert not venv.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)  # each call imports LeRobot, which takes a minute on a busy machine
def test_a_missing_simulator_and_wrong_arguments(environment: dict[str, str], tmp_path: Path) -> None:
    def told(*arguments: str, **changed: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", str(SCRIPTS / "eval_robotwin.sh"), *arguments],
            env={**environment, **changed},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    policy = ["--policy", "me/policy", "--out", str(tmp_path / "out")]
    code, error = told(*policy, PYTHONPATH="")
    assert code == 1 and "RoboTwin 2.0 is not installed" in error and "on PYTHONPATH" in error
    code, error = told("--out", str(tmp_path / "out"))
    assert code == 2 and "usage:" in error and "--policy" in error
