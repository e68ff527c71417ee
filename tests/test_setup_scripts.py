"""What the set-up scripts promise: the right Python, advice, nothing redone, nothing foreign lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ["scripts/test.sh", "scripts/quickstart.sh", ".ci/run"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


def with_lib(commands: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs commands after sourcing lib.sh, with nothing of the tester's environment but the system's PATH."""
    script = f'set -euo pipefail; source "{ROOT}/scripts/lib.sh"; {commands}'
    return subprocess.run(
        ["bash", "-c", script, "test.sh"],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "XWAM_VENV": str(home / "venv"), **env},
        capture_output=True,
        text=True,
    )


def fake_python(path: Path, verdict: str) -> Path:
    """An "interpreter" which answers lib.sh's probe with a fixed verdict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{verdict}'\n")
    path.chmod(0o755)
    return path


def test_a_python_that_only_pyenv_knows_is_found(tmp_path: Path) -> None:
    pythons = tmp_path / ".pyenv/versions"
    fake_python(pythons / "3.11.7/bin/python3", "old 3.11")
    wanted = fake_python(pythons / "3.12.1/bin/python3", "ok 3.12")
    nothing_on_path = "command() { return 1; }"
    done = with_lib(f'{nothing_on_path}; find_python; echo "$PYTHON_FOUND"', tmp_path)
    assert done.stdout.strip() == str(wanted), done.stderr


@pytest.mark.parametrize(
    ("verdict", "advice"),
    [
        ("old 3.11", "uv python install 3.12"),
        ("lacks ensurepip", "apt install python3.12-venv"),
        ("lacks lzma", "liblzma-dev"),
    ],
)
def test_without_a_usable_python_there_is_advice(tmp_path: Path, verdict: str, advice: str) -> None:
    fake = fake_python(tmp_path / "python3", verdict)
    done = with_lib(f"python_candidates() {{ echo '{fake}'; }}; ensure_venv", tmp_path)
    assert done.returncode == 1
    assert advice in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_finished_environment_is_not_touched_again_and_an_unfinished_one_is_redone(tmp_path: Path) -> None:
    """Installing is replaced by counting; the environment is real, but without pip, which takes seconds."""
    calls = tmp_path / "calls"
    stub = (
        f'install_packages() {{ echo x >>"{calls}"; }};'
        'with_sign_of_life() { "$PYTHON_FOUND" -m venv --without-pip "$VENV"; }; ensure_venv'
    )
    for _ in range(2):
        done = with_lib(stub, tmp_path, PYTHON=sys.executable)
        assert done.returncode == 0, done.stderr
    assert calls.read_text() == "x\n"

    (tmp_path / "venv/.xwam-installed").unlink()  # as a killed installation leaves it
    leftover = tmp_path / "venv/leftover"
    leftover.touch()
    done = with_lib(stub, tmp_path, PYTHON=sys.executable)
    assert "starting afresh" in done.stdout
    assert calls.read_text() == "x\nx\n"
    assert not leftover.exists()


def test_an_environment_of_someone_else_is_never_deleted(tmp_path: Path) -> None:
    own = tmp_path / "venv"
    own.mkdir()
    (own / "thesis.txt").touch()
    done = with_lib("ensure_venv", tmp_path)
    assert done.returncode == 1
    assert "is no Python environment" in done.stderr
    assert (own / "thesis.txt").exists()
