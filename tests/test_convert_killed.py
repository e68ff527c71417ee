"""A converter killed at any point and started again gives, byte for byte, what an undisturbed one gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import psutil
import pytest
from spoilt_sources import AUTHORS, KINDS, Kind

from lerobot_xwam.cli.main import main
from lerobot_xwam.converting import convert as conversion

pytestmark = pytest.mark.filterwarnings("ignore")
EPISODES = 3
Reached = Callable[[Path], bool]  # of the folder `out`


def partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def shards(out: Path) -> list[Path]:
    return list((partial(out) / "shards").glob("[0-9]*"))


# How far a run is when it is killed.
POINTS: dict[str, Reached] = {
    "begun": lambda out: (partial(out) / "settings.json").is_file(),
    "within the first shard": lambda out: any((partial(out) / "shards").glob(".*/dataset/**/*.*")),
    "one shard": lambda out: len(shards(out)) >= 1,
    "within the last shard": lambda out: any((partial(out) / "shards").glob(".000002.*/dataset")),
    "merging": lambda out: (partial(out) / out.name / "meta").is_dir(),
    "merged": lambda out: (partial(out) / out.name / "meta" / "converted.json").is_file(),
}


def command(kind: Kind, source: Path, out: Path, workers: int) -> list[str]:
    options = [*kind.options, *kind.settle(source), f"--workers={workers}", "--shard=1", "--verify=1"]
    return ["convert-dataset", "--source", str(source), "--out", str(out), *options]


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def running(pid: int) -> bool:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def kill_when(pid: int, reached: Callable[[], bool], alive: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not reached():
        assert alive(), "it had ended before it came as far"
        assert time.monotonic() - start < 300
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", KINDS)
def test_killed_at_any_point_it_goes_on_to_the_same_files(name: str, tmp_path: Path) -> None:
    kind, source, out, whole = KINDS[name], tmp_path / "source", tmp_path / "out", tmp_path / "whole"
    kind.write(source, EPISODES)

    def start(where: Path) -> int:
        return forked.start(lambda: main(command(kind, source, where, 1)), tmp_path / "log")

    def ended(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert ended(start(whole)) == 0, (tmp_path / "log").read_text()
    for point, reached in POINTS.items():
        pid = start(out)
        kill_when(pid, lambda reached=reached: reached(out), lambda pid=pid: running(pid))
        assert ended(pid) == -signal.SIGKILL, point
        assert not out.exists() and partial(out).is_dir(), point
    assert ended(start(out)) == 0, (tmp_path / "log").read_text()
    assert files_of(out) == files_of(whole)
    assert not partial(out).exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_end_with_the_process_that_was_killed(tmp_path: Path) -> None:
    """Only the parent is killed, as the system does when memory is short. Its workers write no further."""
    source, out, whole = tmp_path / "source", tmp_path / "out", tmp_path / "whole"
    AUTHORS.write(source, EPISODES)
    program = [sys.executable, "-m", "lerobot_xwam.cli.main", *command(AUTHORS, source, out, 2)]
    process = subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    parent = psutil.Process(process.pid)
    kept: list[psutil.Process] = []

    def writes() -> bool:
        kept[:] = parent.children(recursive=True)
        return len(kept) >= 2 and POINTS["within the first shard"](out)

    kill_when(process.pid, writes, lambda: process.poll() is None)
    process.wait()
    _, alive = psutil.wait_procs(kept, timeout=60)
    assert not alive, [each.cmdline() for each in alive]
    assert main(command(AUTHORS, source, out, 1)) == 0
    assert main(command(AUTHORS, source, whole, 1)) == 0
    assert files_of(out) == files_of(whole)


def test_killed_when_only_its_own_folder_was_left_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    AUTHORS.write(source, 1)
    remove = conversion.shutil.rmtree

    def stops(path: Path, *rest: object, **more: object) -> None:
        if Path(path) == partial(out):
            raise KeyboardInterrupt
        remove(path, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(conversion.shutil, "rmtree", stops)
        assert main(command(AUTHORS, source, out, 1)) == 130
    assert out.is_dir() and partial(out).is_dir()
    before = files_of(out)
    assert main([*command(AUTHORS, source, out, 1), "--inverse-gripper"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(command(AUTHORS, source, out, 1)) == 0
    assert files_of(out) == before and not partial(out).exists()
    assert main(command(AUTHORS, source, out, 1)) == 1
    assert "exists already" in capsys.readouterr().err
