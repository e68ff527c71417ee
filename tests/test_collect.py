"""`lerobot-xwam collect`: killed, interrupted and resumed it makes the dataset that one run makes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerobot_xwam.cli.main import main
from lerobot_xwam.collecting import collect as module
from lerobot_xwam.collecting import workers
from lerobot_xwam.collecting.collect import collect
from lerobot_xwam.collecting.episode import Episode, attempt, make_env
from lerobot_xwam.collecting.schedule import interleaved, schedules
from lerobot_xwam.collecting.settings import Settings
from lerobot_xwam.collecting.staging import read_episode, staged, write_episode, write_failure

EPISODES = 5
OPTIONS = ["--episodes", str(EPISODES), "--cameras", "front", "hand", "--size", "48", "64", "--workers", "1"]


def lift_settings(**changed: Any) -> Settings:
    """What OPTIONS mean."""
    rest = {"interface": "ee", "arms": 0, "depth": True, "camera_matrices": False, "seed": 0, "noise": 0.0}
    return Settings.checked(
        changed.pop("tasks", "lift"),
        changed.pop("cameras", ["front", "hand"]),
        changed.pop("size", (48, 64)),
        **{**rest, "fps": 20, **changed},
    )


# --- which seeds


def test_tasks_take_turns_and_no_seed_is_used_twice() -> None:
    plan = schedules(("lift", "stack"), 10, 5)
    failing = {("lift", 12), ("stack", 11), ("stack", 13)}
    while any(one.running for one in plan) or any(len(one.kept) < one.wanted for one in plan):
        for one in plan:  # two at once, the later one ends first
            seeds = [seed for seed in (one.next_seed(), one.next_seed()) if seed is not None]
            for seed in reversed(seeds):
                one.settle(seed, (one.task, seed) not in failing)
    assert interleaved(plan) == [("lift", 10), ("stack", 15), ("lift", 14), ("stack", 17), ("lift", 16)]
    assert [sorted(one.failed) for one in plan] == [[12], [11, 13]]


def test_no_more_is_tried_than_needed() -> None:
    (one,) = schedules(("lift",), 0, 2)
    assert [one.next_seed() for _ in range(3)] == [0, 1, None]
    one.settle(0, False)
    assert [one.next_seed(), one.next_seed()] == [2, None]


# --- staging


def small_episode(seed: int = 3) -> Episode:
    rng = np.random.default_rng(seed)
    arrays = {
        "action": rng.normal(size=(4, 7)).astype(np.float32),
        "observation.images.front": rng.integers(0, 255, (4, 6, 8, 3), dtype=np.uint8),
        "observation.images.front_depth": rng.uniform(0.1, 9, (4, 6, 8, 1)).astype(np.float32),
    }
    return Episode("lift", seed, "lift the red cube", True, arrays)


def test_staged_episodes_come_back_exactly(tmp_path: Path) -> None:
    episode = small_episode()
    write_episode(tmp_path, episode)
    write_failure(tmp_path, "lift", 5)
    found = read_episode(tmp_path, "lift", 3)
    assert (found.task, found.seed, found.instruction, found.disturbed) == (
        "lift",
        3,
        episode.instruction,
        True,
    )
    assert found.arrays.keys() == episode.arrays.keys()
    for key, value in episode.arrays.items():
        assert found.arrays[key].dtype == value.dtype
        np.testing.assert_array_equal(found.arrays[key], value)
    assert staged(tmp_path, "lift") == ({3}, {5})
    assert staged(tmp_path, "stack") == (set(), set())


def test_a_damaged_episode_is_named(tmp_path: Path) -> None:
    write_episode(tmp_path, small_episode())
    path = tmp_path / "lift-3.npz"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        depth = archive.getinfo("observation.images.front_depth.planes")
    content[depth.header_offset + 100 + depth.compress_size // 2] ^= 0xFF  # 100: about its header's length
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"lift-3\.npz: damaged .*same command again"):
        read_episode(tmp_path, "lift", 3)


# --- the whole of it


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts the command in a process group of its own; none outlives the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lerobot_xwam.cli.main", "collect", "--out", str(out), *OPTIONS]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        # A test run in the background ignores SIGINT, and so would its children.
        hear: Any = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        running.append(subprocess.Popen(command, text=True, start_new_session=True, **pipes, **hear))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_for(condition: Any, process: subprocess.Popen[str] | None = None, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()[0]  # type: ignore[union-attr]
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Ended, or waiting to be collected by whoever adopted it."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.timeout(900)  # a minute on a machine with nothing else to do
def test_killed_then_interrupted_then_finished(
    start: Callable[[Path], subprocess.Popen[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, partial = tmp_path / "lifts", tmp_path / "lifts.partial"

    killed = start(out)
    wait_for(lambda: list(partial.glob("episodes/*.npz")), killed)
    helpers = children_of(killed.pid)
    killed.kill()
    killed.communicate()
    wait_for(lambda: all(gone(pid) for pid in helpers), seconds=30)
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob("episodes/*.npz")}
    assert 1 <= len(before) < EPISODES and not out.exists()
    (partial / "episodes" / ".lift-9.npz.half").write_bytes(b"half an episode")
    (partial / "dataset").mkdir()
    (partial / "dataset" / "half").write_bytes(b"half a dataset")

    interrupted = start(out)
    wait_for(lambda: len(list(partial.glob("episodes/lift-*.npz"))) > len(before), interrupted)
    helpers = children_of(interrupted.pid)
    os.killpg(interrupted.pid, signal.SIGINT)
    output = interrupted.communicate(timeout=60)[0]
    assert interrupted.returncode == 130
    assert "the same command goes on from there" in output and "Traceback" not in output
    # The workers are gone already; Python's own resource tracker ends a moment after the process it serves.
    wait_for(lambda: all(gone(pid) for pid in helpers), seconds=30)
    after = {path.name: path.stat().st_mtime_ns for path in partial.glob("episodes/*.npz")}
    assert before.items() <= after.items()  # kept, not made again

    with pytest.raises(ValueError, match=r"collected otherwise:\n  noise: was 0\.0, is 0\.5\nUse the same"):
        collect(lift_settings(noise=0.5), EPISODES, out, 1)
    lengths = {
        f"lift-{seed}.npz": len(read_episode(partial / "episodes", "lift", seed)) for seed in seeds(after)
    }
    about = collect(lift_settings(), EPISODES, out, 1)
    assert not partial.exists()
    assert "lift: 5 episodes kept, 0 failed and dropped" in capsys.readouterr().out
    assert [episode["seed"] for episode in about["episodes"]] == list(range(EPISODES))
    frames = {f"lift-{episode['seed']}.npz": episode["frames"] for episode in about["episodes"]}
    assert lengths.items() <= frames.items()
    check_dataset(out, about)

    with pytest.raises(FileExistsError, match="exists already"):
        collect(lift_settings(), EPISODES, out, 1)


def seeds(names: dict[str, int]) -> list[int]:
    return [int(Path(name).stem.rpartition("-")[2]) for name in names]


def check_dataset(root: Path, about: dict[str, Any]) -> None:
    """Opens as lerobot-dataset-viz opens it; numbers are exact, depth is as exact as its code."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/lifts", root=root, video_backend="pyav")
    assert json.loads((root / "meta" / "collected.json").read_text()) == json.loads(json.dumps(about))
    assert dataset.num_episodes == EPISODES and dataset.fps == 20
    assert len(dataset) == sum(episode["frames"] for episode in about["episodes"])
    first = 0
    settings = lift_settings()
    env = make_env(settings, "lift")
    for number, episode in enumerate(about["episodes"]):
        if number in (1, EPISODES - 1):
            truth = attempt(env, settings, episode["seed"])
            assert truth is not None and len(truth) == episode["frames"]
            for step in (0, len(truth) // 2, len(truth) - 1):
                check_frame(dataset[first + step], truth, step, number)
        first += episode["frames"]
    env.close()


def check_frame(frame: dict[str, Any], truth: Episode, step: int, number: int) -> None:
    assert int(frame["episode_index"]) == number and int(frame["frame_index"]) == step
    assert frame["task"] == truth.instruction
    for key in ("action", "observation.state"):
        np.testing.assert_allclose(frame[key].numpy(), truth.arrays[key][step], atol=1e-6)
    for name in ("front", "hand"):
        colours = frame[f"observation.images.{name}"].numpy().transpose(1, 2, 0) * 255
        assert np.abs(colours - truth.arrays[f"observation.images.{name}"][step]).mean() < 4
        depth = frame[f"observation.images.{name}_depth"].numpy().reshape(48, 64)  # millimetres
        true = truth.arrays[f"observation.images.{name}_depth"][step][..., 0].clip(0.01, 10.0)
        code = (true + 3.5) * np.log(13.5 / 3.51) / 4095  # width of LeRobot's 12-bit logarithmic code
        # Half of it, and half of the millimetre that LeRobot rounds to.
        assert (np.abs(depth / 1000 - true) < 0.51 * code + 5.1e-4).all()


def drawn_episode(seed: int) -> Episode:
    """What an attempt gives, without a simulator: smooth pictures, so that video keeps them."""
    rng = np.random.default_rng(seed)
    steps = 4 + seed
    ramp = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64, 1)
    arrays: dict[str, Any] = {
        "observation.state": rng.normal(size=(steps, 8)).astype(np.float32),
        "action": rng.normal(size=(steps, 7)).astype(np.float32),
    }
    for name in ("front", "hand"):
        shades = rng.integers(0, 200, (steps, 1, 1, 3))
        arrays[f"observation.images.{name}"] = (shades + 50 * ramp).astype(np.uint8)
        near = rng.uniform(0.05, 4.0, (steps, 1, 1, 1)).astype(np.float32)
        arrays[f"observation.images.{name}_depth"] = near + 5 * ramp
    return Episode("lift", seed, f"wording {seed % 2}", seed == 3, arrays)


def test_a_resumed_run_makes_the_dataset_from_what_was_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    out, partial, tried = tmp_path / "lifts", tmp_path / "lifts.partial", []

    def simulate(plan: Any, settings: Any, folder: Path, count: int) -> None:
        (one,) = plan
        while (seed := one.next_seed()) is not None:
            tried.append(seed)
            if len(tried) == 4:
                raise KeyboardInterrupt
            write_failure(folder, "lift", 2) if seed == 2 else write_episode(folder, drawn_episode(seed))
            one.settle(seed, seed != 2)

    monkeypatch.setattr(module, "_simulate", simulate)
    with pytest.raises(KeyboardInterrupt):
        collect(lift_settings(), EPISODES, out, 1)
    assert f"2 episodes are kept in {partial}" in capsys.readouterr().err
    (partial / "episodes" / ".lift-3.npz.half").write_bytes(b"half an episode")
    (partial / "dataset").mkdir()
    (partial / "dataset" / "half").write_bytes(b"half a dataset")

    about = collect(lift_settings(), EPISODES, out, 1)
    assert tried == [0, 1, 2, 3, 3, 4, 5]  # only the interrupted one twice
    assert not partial.exists() and not (out / "half").exists()
    assert [episode["seed"] for episode in about["episodes"]] == [0, 1, 3, 4, 5]
    assert about["tasks"] == {"lift": {"kept": 5, "dropped": 1, "dropped_seeds": [2]}}
    dataset = LeRobotDataset("local/lifts", root=out, video_backend="pyav")
    assert dataset.num_episodes == EPISODES and len(dataset) == sum(4 + seed for seed in (0, 1, 3, 4, 5))
    index = 0
    for number, seed in enumerate((0, 1, 3, 4, 5)):
        truth = drawn_episode(seed)
        for step in range(len(truth)):
            check_frame(dataset[index], truth, step, number)
            index += 1


# --- what can go wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "juggle"], "got 'juggle', but xwam_robosuite has"),
        (["--task", "lift,lift"], "wanted one task or several different ones"),
        (["--episodes", "0"], "--episodes 0: at least one is needed"),
        (["--workers", "0"], "--workers 0: at least one is needed"),
        (["--cameras", "behind"], r"got ['behind'], but task 'lift' has"),
        (["--size", "8", "8"], "size: got (8, 8)"),
        (["--noise", "2"], "--noise 2.0: wanted the part of disturbed episodes"),
        (["--seed", "-1"], "--seed -1: wanted 0 or more"),
        (["--task", "lift,two_arm_lift"], "use --arms 2"),
        (["--arms", "2", "--interface", "native"], "only 'ee' and 'raw' have a width for an absent arm"),
    ],
)
def test_bad_input_is_refused_at_once(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--out", str(tmp_path / "new"), *options]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        collect(lift_settings(), 1, tmp_path / "file" / "new", 1)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="a folder with other things in it"):
        collect(lift_settings(), 1, tmp_path / "new", 1)
    assert (tmp_path / "new.partial" / "thesis.txt").read_text() == "precious"


def test_too_little_room_is_said_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=50 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"GB are needed, the disk of .* has 0\.05 GB free"):
        collect(lift_settings(), 10_000, tmp_path / "new", 1)


def test_a_full_disk_keeps_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(plan: Any, settings: Any, folder: Path, count: int) -> None:
        write_episode(folder, small_episode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_simulate", fill)
    with pytest.raises(
        OSError, match=r"disk of .* is full\. 1 episodes are kept in .*new\.partial; free some space"
    ):
        collect(lift_settings(), 2, tmp_path / "new", 1)
    assert (tmp_path / "new.partial" / "episodes" / "lift-3.npz").is_file()


class Pipe:
    """The worker's end, with one job in it."""

    def __init__(self) -> None:
        self.jobs = [("lift", 3)]
        self.sent: list[Any] = []

    def recv(self) -> tuple[str, int]:
        if not self.jobs:
            raise EOFError
        return self.jobs.pop()

    def send(self, outcome: Any) -> None:
        self.sent.append(outcome)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "lift-3.npz"), OSError, "No space left"),
        (ValueError("rendering: no OpenGL"), ValueError, "^rendering: no OpenGL$"),
        (KeyError("cubeA"), RuntimeError, "KeyError: 'cubeA'"),
    ],
)
def test_errors_of_a_worker_reach_the_user(
    error: Exception, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lerobot_xwam.collecting import episode, staging

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(episode, "make_env", lambda *_: None)
    monkeypatch.setattr(episode, "attempt", lambda *_: small_episode())
    monkeypatch.setattr(staging, "write_episode", fail)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    pipe = Pipe()
    with pytest.raises(SystemExit):
        workers._work(pipe, lift_settings(), tmp_path, os.getppid())  # type: ignore[arg-type]
    (outcome,) = pipe.sent
    assert type(outcome) is kind
    with pytest.raises(kind, match=message) as caught:
        raise outcome
    assert not isinstance(error, OSError) or caught.value.errno == errno.ENOSPC  # type: ignore[attr-defined]


def test_an_expert_that_always_fails_is_not_tried_for_ever() -> None:
    (one,) = schedules(("lift",), 0, 3)
    for seed in range(module.HOPELESS - 1):
        one.settle(seed, False)
    module._give_up_if_hopeless(one)
    one.settle(99, False)
    with pytest.raises(ValueError, match="task lift: the expert failed on all of 20 seeds"):
        module._give_up_if_hopeless(one)
