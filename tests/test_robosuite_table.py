"""scripts/robosuite_table.py: one evaluation per policy, kept with its settings, never taken for another."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import robosuite_table
from test_benchmark_table import FAKE, called


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = tmp_path / "bin" / "lerobot-eval"
    fake.parent.mkdir()
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    monkeypatch.setattr(robosuite_table, "BIN", fake.parent)
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(f"weights of {name}")
    return tmp_path / "calls"


def table(tmp_path: Path, *more: str, ours: str = "ours") -> int:
    policies = ["--policy", f"ours={tmp_path / ours}", "--policy", f"act={tmp_path / 'theirs'}"]
    return robosuite_table.main([*policies, "--task", "lift", "--out", str(tmp_path / "out"), *more])


def test_a_finished_evaluation_is_not_run_again(calls: Path, tmp_path: Path) -> None:
    command = ["--episodes", "4", "--", "--policy.device=cpu", "--eval.use_async_envs=true"]
    assert table(tmp_path, *command) == 0
    held = called(calls)
    assert [options["policy.path"] for _, options, _ in held] == [
        str(tmp_path / n) for n in ("ours", "theirs")
    ]
    for task, options, _ in held:  # what follows -- comes last, and so counts
        assert task == "lift" and options["policy.device"] == "cpu"
        assert options["eval.use_async_envs"] == "true" and options["seed"] == str(robosuite_table.UNSEEN)
    assert "| ours | 2/4 = 50 % (15 to 85) |" in (tmp_path / "out/table.md").read_text()
    assert table(tmp_path, *command) == 0 and not called(calls)

    (tmp_path / "out/act/eval_info.json").unlink()  # as a run that was stopped leaves it
    assert table(tmp_path, *command) == 0
    assert [options["policy.path"] for _, options, _ in called(calls)] == [str(tmp_path / "theirs")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--episodes", "6"], "episodes: was 4, is 6"),
        (["--seed", "7"], "seed: was 1000000, is 7"),
        (["--task", "stack"], "task: was lift, is stack"),
        (["--", "--policy.device=cpu"], "options: was \\[\\], is .*policy.device"),
        ("weights", "policy: was .*model.safetensors"),
    ],
)
def test_results_of_other_settings_are_refused(
    changed: list[str] | str, message: str, calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(tmp_path, "--episodes", "4") == 0
    called(calls)
    before = (tmp_path / "out/table.md").read_text()
    if changed == "weights":
        (tmp_path / "ours/model.safetensors").write_text("trained for longer")
    more = [] if isinstance(changed, str) else changed
    assert table(tmp_path, "--episodes", "4", *more) == 1
    error = capsys.readouterr().err
    assert "holds results of other settings" in error and re.search(message, error), error
    assert not called(calls) and (tmp_path / "out/table.md").read_text() == before


def test_the_same_weights_elsewhere_are_the_same_policy(calls: Path, tmp_path: Path) -> None:
    assert table(tmp_path, "--episodes", "4") == 0
    (tmp_path / "ours").rename(tmp_path / "moved")
    called(calls)
    assert table(tmp_path, "--episodes", "4", ours="moved") == 0 and not called(calls)


def test_results_without_settings_are_refused(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(tmp_path, "--episodes", "4") == 0
    (tmp_path / "out/ours.settings.json").unlink()
    assert table(tmp_path, "--episodes", "4") == 1
    assert "of unknown settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "ours"], "wanted NAME=FOLDER"),
        (["--policy", "a=x", "--policy", "a=y"], "a name of its own"),
        (["--policy", "a=x", "--episodes", "0"], "--episodes 0"),
    ],
)
def test_wrong_arguments_tell_the_usage(words: list[str], message: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        robosuite_table.main([*words, "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("usage:") and message in told


def test_a_failing_evaluation_is_told(calls: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FAKE_FAILS", "lift")
    assert table(tmp_path, "--episodes", "4") == 1
    assert "returned non-zero exit status 3" in capsys.readouterr().err
    monkeypatch.delenv("FAKE_FAILS")
    assert table(tmp_path, "--episodes", "4") == 0
    assert json.loads((tmp_path / "out/table.json").read_text())[0]["tasks"][0]["episodes"] == 4
