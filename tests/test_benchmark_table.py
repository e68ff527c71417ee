"""scripts/benchmark_table.py: all tasks, over GPUs, resumable, beside the paper's numbers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import benchmark_table
import pytest
from benchmarking import published, running
from benchmarking.benchmarks import BENCHMARKS, IN_ROBOCASA365, Job

from lerobot_xwam.benchmarks import robocasa, robotwin

# Stands for lerobot-eval: notes how it was called, fails or hangs where told to, wins every other episode.
FAKE = """#!{python} -S
import json, os, pathlib, sys, time
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
task, episodes = options["env.task"], int(options["eval.n_episodes"])
with open(os.environ["FAKE_CALLS"], "a") as file:
    file.write(json.dumps([task, options, os.environ.get("CUDA_VISIBLE_DEVICES")]) + "\\n")
if task in os.environ.get("FAKE_FAILS", "").split(","):
    sys.exit(3)
while task in os.environ.get("FAKE_HANGS", "").split(","):
    time.sleep(0.05)
won = [i % 2 == 0 for i in range(episodes)]
folder = pathlib.Path(options["output_dir"])
(folder / "videos").mkdir(parents=True)
rate = 100 * sum(won) / episodes
(folder / "eval_info.json").write_text(json.dumps({{
    "per_task": [{{"task_group": task, "task_id": 0, "metrics": {{"successes": won}}}}],
    "overall": {{"pc_success": rate, "n_episodes": episodes}},
}}))
"""


def fake_packages(folder: Path) -> Path:
    """Empty ones, named like the two simulators'."""
    for name, files in (("robocasa", []), ("envs", [f"{task}.py" for task in published.ROBOTWIN])):
        (folder / name).mkdir(parents=True)
        for file in ("__init__.py", *files):
            (folder / name / file).touch()
    return folder


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = tmp_path / "bin" / "lerobot-eval"
    fake.parent.mkdir()
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    monkeypatch.setattr(running, "BIN", fake.parent)
    monkeypatch.syspath_prepend(fake_packages(tmp_path / "simulators"))
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def called(calls: Path) -> list[tuple[str, dict[str, str], str | None]]:
    held = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
    calls.unlink(missing_ok=True)
    return held


def test_all_tasks_once_and_only_what_is_missing(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["robotwin", "--policy", "me/policy", "--out", str(tmp_path / "out"), "--episodes", "4"]
    some = ["--tasks", "lift_pot", "turn_switch", "--gpus", "3", "5", "--per-gpu", "2"]
    monkeypatch.setenv("FAKE_FAILS", "turn_switch")
    assert benchmark_table.main([*command, *some]) == 1
    first = called(calls)
    assert len(first) == 4 and {gpu for *_, gpu in first} <= {"3", "5"}
    assert {options["env.task_config"] for _, options, _ in first} == {"demo_clean", "demo_randomized"}
    table = (tmp_path / "out/table.md").read_text()
    assert "| lift_pot | 50.0 % (15 to 85) | 100.0 % | 50.0 % (15 to 85) | 99.0 % |" in table
    assert "| turn_switch | failed | 61.0 % | failed | 72.0 % |" in table
    assert "1 of 2 tasks" in table and "exit code 3" in table and "not measured here" in table

    monkeypatch.delenv("FAKE_FAILS")
    assert benchmark_table.main([*command, *some]) == 0
    assert [task for task, *_ in called(calls)] == ["turn_switch"] * 2
    table = (tmp_path / "out/table.md").read_text()
    assert "| **average** | 50.0 % (22 to 78) | 89.8 % | 50.0 % (22 to 78) | 90.7 % |" in table
    assert (tmp_path / "out/tasks/clean/lift_pot/videos").is_dir()
    assert benchmark_table.main([*command, *some]) == 0 and not called(calls)

    capsys.readouterr()
    other = [*command[:-1], "8", *some]
    assert benchmark_table.main(other) == 1
    assert "episodes: was 4, is 8" in capsys.readouterr().err


def test_half_a_task_is_no_task(calls: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = out / "tasks" / ".CloseDrawer.partial"
    left.mkdir(parents=True)
    (left / "eval_info.json").write_text("half of it")
    command = ["robocasa", "--policy", "here", "--out", str(out), "--episodes", "2", "--tasks", "CloseDrawer"]
    assert benchmark_table.main([*command, "--", "--policy.source=robocasa"]) == 0
    ((task, options, gpu),) = called(calls)
    assert task == "CloseDrawer" and gpu is None and options["policy.source"] == "robocasa"
    assert options["env.episode_length"] == str(robocasa.MAX_STEPS["CloseDrawer"])
    assert not left.exists() and "| CloseDrawer | 50.0 % (9 to 91) | n/a |" in (out / "table.md").read_text()
    assert "79.2 %" in (out / "table.md").read_text()


@pytest.mark.parametrize(
    ("name", "there", "message"),
    [
        (
            "robocasa",
            "nothing",
            r"RoboCasa is not installed: no Python package 'robocasa'.*github\.com/robocasa",
        ),
        ("robotwin", "nothing", r"RoboTwin 2\.0 is not installed: .*'envs'.*PYTHONPATH.*robotwin-platform"),
        ("robotwin", "another", r"'envs' in .* is not that of RoboTwin 2\.0: it has no adjust_bottle\.py"),
    ],
)
def test_without_the_simulator_nothing_is_started(
    name: str, there: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lerobot-eval").touch()
    monkeypatch.setattr(running, "BIN", tmp_path / "bin")
    if there == "another":
        (tmp_path / "path" / "envs").mkdir(parents=True)
        (tmp_path / "path" / "envs" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path / "path")
    command = [name, "--policy", "me/policy", "--out", str(tmp_path / "out")]
    assert benchmark_table.main(command) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out" / "logs").exists()


def test_unknown_tasks_tell_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["robotwin", "--policy", "a", "--out", str(tmp_path / "out"), "--tasks", "lift_everything"]
    assert benchmark_table.main(command) == 1
    error = capsys.readouterr().err
    assert "lift_everything" in error and "lift_pot" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --policy, --out"),
        (["--policy", "a", "--out", "b", "--episodes", "many"], "invalid int value: 'many'"),
        (["--policy", "a", "--out", "b", "--gpu", "0"], "unrecognized arguments: --gpu 0"),
        (["--policy", "a", "--out", "b", "--episodes", "0"], "--episodes 0"),
        (["--policy", "a", "--out", "b", "--per-gpu", "0"], "--per-gpu 0"),
    ],
)
def test_wrong_arguments_tell_the_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark_table.main(["robocasa", *arguments])
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith("usage:") and re.search(message, told), told


def test_the_papers_tasks_are_lerobots() -> None:
    from lerobot.envs.robotwin import ROBOTWIN_CAMERA_NAMES, ROBOTWIN_TASKS

    assert set(published.ROBOTWIN) == set(ROBOTWIN_TASKS) and len(published.ROBOTWIN) == 50
    for which, average in enumerate(published.ROBOTWIN_AVERAGE):
        rates = [rates[which] for rates in published.ROBOTWIN.values()]
        assert sum(rates) / len(rates) == pytest.approx(average, abs=0.051)
    assert set(robotwin.CAMERAS) <= set(ROBOTWIN_CAMERA_NAMES)
    assert len(robocasa.MAX_STEPS) == 24 and set(IN_ROBOCASA365) <= set(robocasa.MAX_STEPS)
    assert len(BENCHMARKS["robotwin"].jobs()) == 100 and len(BENCHMARKS["robocasa"].jobs()) == 24
    with pytest.raises(ValueError, match="nonsense"):
        BENCHMARKS["robocasa"].jobs(["nonsense"])
    assert Job("lift_pot", "clean").name == "clean/lift_pot"


def test_cameras_of_lerobots_robocasa_are_the_releases() -> None:
    """Views are sorted by name on both sides, so that a released checkpoint sees what it was trained on."""
    from lerobot.envs.configs import RoboCasaEnv

    from lerobot_xwam.weights.official_config import CAMERAS

    mapped = [key for key in RoboCasaEnv().features_map.values() if key.startswith("observation.images.")]
    assert sorted(mapped) == [f"observation.images.{name}" for name in robocasa.CAMERAS]
    assert list(robocasa.CAMERAS) == CAMERAS["robocasa"] == sorted(robocasa.CAMERAS)
    assert list(robotwin.CAMERAS) == CAMERAS["robotwin"] == sorted(robotwin.CAMERAS)
