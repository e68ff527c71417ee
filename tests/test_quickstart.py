"""The quickstart: how its stages are run and reported, and (slow) all of it at the smallest size."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def stages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stages", ROOT / "scripts/stages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["stages"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_python(stages: ModuleType, tmp_path: Path) -> Callable[[str], str]:
    """Runs Python text as a stage whose result is tmp_path/made/result; returns the log's text."""

    def run(text: str) -> str:
        made = tmp_path / "made"
        stage = stages.Stage(
            "name", "doing it", (sys.executable, "-c", text), made / "result", made, bar="Training"
        )
        stages.run(stage, "1/1", tmp_path / "logs/name.log")
        command, _, log = (tmp_path / "logs/name.log").read_text().partition("\n")
        assert command.startswith("$ ")
        return log

    return run


def write_result(tmp_path: Path) -> str:
    return f"import pathlib; p = pathlib.Path({str(tmp_path)!r}, 'made'); p.mkdir(); (p / 'result').touch();"


def test_a_stage_keeps_the_screen_quiet_and_logs_everything(
    run_python: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = run_python(write_result(tmp_path) + "print('noise'); import sys; print('warning', file=sys.stderr)")
    assert "noise" in log and "warning" in log
    assert re.fullmatch(r"\[xwam\] 1/1 doing it: done in \d+ s\n", capsys.readouterr().out)


def test_text_behind_a_progress_bar_is_logged_without_the_bar(
    run_python: Callable[[str], str], tmp_path: Path
) -> None:
    """LeRobot logs its losses on the line on which the bar stands."""
    bar = r"\rTraining:  40%|####      | 120/300 [00:30<00:45,  4.0step/s]"
    log = run_python(write_result(tmp_path) + f"print('{bar}INFO step:120 loss:0.5')")
    assert "INFO step:120 loss:0.5" in log
    assert "####" not in log


def test_the_bar_of_a_stage_is_read(stages: ModuleType) -> None:
    bar = stages.BAR.match("Training:  40%|####      | 120/300 [00:30<00:45,  4.0step/s]")
    assert (bar["label"], bar["done"], bar["of"], bar["left"]) == ("Training", "120", "300", "00:45")
    assert stages.BAR.match("INFO 10/20 of something") is None


def test_a_failing_stage_shows_the_end_of_its_log(
    stages: ModuleType, run_python: Callable[[str], str], tmp_path: Path
) -> None:
    with pytest.raises(stages.StageFailed) as failure:
        run_python("for i in range(50): print('line', i)\nraise SystemExit('the reason')")
    message = str(failure.value)
    assert "the reason" in message and "line 49" in message
    assert "line 29" not in message, "20 lines, not all"
    assert "exit code 1" in message
    assert str(tmp_path / "logs/name.log") in message


def test_a_stage_that_writes_nothing_has_failed(stages: ModuleType, run_python: Callable[[str], str]) -> None:
    with pytest.raises(stages.StageFailed, match="was written"):
        run_python("pass")


def test_a_stage_starts_from_an_empty_folder(run_python: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/half").touch()
    run_python(write_result(tmp_path))  # its mkdir fails if the folder is there
    assert not (tmp_path / "made/half").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_quickstart_and_going_on_where_it_stopped(tmp_path: Path) -> None:
    def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            str(ROOT / "scripts/quickstart.py"),
            f"--output={tmp_path / 'out'}",
            "--steps=2",
        ]
        command += ["--episodes=1", "--collect=1", "--device=cpu", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ))

    first = quickstart()
    assert first.returncode == 0, first.stdout + first.stderr
    assert (tmp_path / "out/imagined/imagined.png").is_file()
    assert "training loss" in first.stdout and "out/imagined/imagined.mp4" in first.stdout
    assert "two_arm_lift" in first.stdout and "of 1 episodes succeeded" in first.stdout

    (tmp_path / "out/imagined/imagined.json").unlink()
    again = quickstart()
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("done before") == 2  # evaluation and collecting; training comes after imagining

    other = quickstart("--batch-size=1")
    assert other.returncode != 0
    assert "--fresh" in other.stderr
