"""Success under delay: the task, the schedule of chunks, and that kept plans beat dropped ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from delaying.driving import Driver
from delaying.posts import ANGLES, GOAL, REACH, SPEED, TURN, Scene, demonstration
from delaying.report import wilson
from numpy.typing import NDArray
from torch import Tensor

SCRIPT = Path(__file__).parent.parent / "scripts/rtc_success.py"
CHUNK, EVERY = 24, 12


def test_demonstrations_succeed_on_both_sides() -> None:
    sides, starts = [], []
    for seed in range(60):
        scene, done = Scene.drawn(seed), demonstration(seed)
        for target in done.targets[1:]:
            scene.step(target)
        assert scene.succeeded and not scene.crashed
        for angle in ANGLES:
            sides.append(done.targets[np.abs(done.targets[:, 0] - angle).argmin(), 1] > REACH)
            starts.append(done.targets[0, :2])
    assert 60 < sum(sides) < 120
    tells = np.corrcoef(np.array(sides, dtype=float), np.array(starts).T)[0, 1:]
    assert np.abs(tells).max() < 0.25  # the scene does not tell the side


def test_until_the_turn_nothing_tells_the_side() -> None:
    for seed in range(20):
        done = demonstration(seed).targets
        before = done[np.abs(done[:, 0] - (ANGLES[1] + TURN)) < 2 * SPEED[1]]
        straight = before[before[:, 0] > ANGLES[1] + TURN, 1]
        np.testing.assert_allclose(straight, REACH, atol=1e-6)


def test_the_straight_way_crashes() -> None:
    scene = Scene.drawn(0)
    for angle in np.linspace(scene.joints[0], GOAL - 0.05, 60):
        scene.step(np.array([angle, REACH, 0.1, 0.0, 0.0], dtype=np.float32))
    assert scene.crashed and not scene.succeeded and scene.joints[0] > ANGLES[0]


class Fickle:
    """Inside or outside as it likes, unless it is told what it does already."""

    def __init__(self, seed: int) -> None:
        self.config = SimpleNamespace(chunk_size=CHUNK, rtc_method="", rtc_config=None)
        self.calls: list[tuple[int, int]] = []
        self._rng = np.random.default_rng(seed)

    def predict_action_chunk(
        self, batch: dict[str, Any], inference_delay: int = 0, prev_chunk_left_over: Tensor | None = None
    ) -> Tensor:
        state = batch["observation.state"]  # joints and posts
        known = prev_chunk_left_over if inference_delay else None
        self.calls.append(
            (inference_delay, 0 if prev_chunk_left_over is None else prev_chunk_left_over.shape[1])
        )
        return torch.stack(
            [self._way(row, None if known is None else known[i]) for i, row in enumerate(state.numpy())]
        )

    def _way(self, state: NDArray[np.float32], known: Tensor | None) -> Tensor:
        angles = state[0] - SPEED[0] * np.arange(1, CHUNK + 1)
        began = np.array([state[:2]]) if known is None else known[:, :2].numpy()
        reach = np.full(CHUNK, REACH)
        for angle in ANGLES:
            decided = began[np.abs(began[:, 0] - angle) < TURN]
            off = decided[-1, 1] - REACH if len(decided) else 0.0
            side = np.sign(off) if abs(off) > 1e-4 else self._rng.choice([-1.0, 1.0])
            share = np.clip((TURN - np.abs(angles - angle)) / (TURN - 0.12), 0, 1)
            reach += side * 0.125 * share
        rest = np.repeat(state[None, 2:5], CHUNK, axis=0)
        return torch.from_numpy(np.concatenate([np.stack([angles, reach], axis=1), rest], axis=1)).float()


def drive(method: str, delay: int) -> tuple[float, Fickle]:
    policy, scenes = Fickle(0), [Scene.drawn(seed) for seed in range(40)]
    Driver(policy, lambda batch: batch, lambda actions: actions, method, delay, EVERY).drive(list(scenes))
    return sum(scene.succeeded for scene in scenes) / len(scenes), policy


def test_a_fickle_policy_needs_to_be_told_what_it_does() -> None:
    naive, prefix = drive("naive", 8)[0], drive("prefix", 8)[0]
    print(f"naive {naive:.2f}, prefix {prefix:.2f}")
    assert prefix == 1.0 and naive < 0.7


def test_the_schedule_of_chunks() -> None:
    """Asked for every 12 steps; told of the delay and of everything that is left."""
    _, policy = drive("prefix", 2)
    assert policy.calls[0] == (0, 0)
    # of the first chunk 12 are done; every later one is 2 old when it comes, and 2 + 10 are done of it
    assert policy.config.rtc_method == "prefix"
    assert policy.config.rtc_config.prefix_attention_schedule.name == "ZEROS"
    assert policy.calls[1] == (2, CHUNK - EVERY) and set(policy.calls[2:]) == {(2, CHUNK - EVERY)}
    _, naive = drive("naive", 2)
    assert set(naive.calls) == {(0, 0)}
    with pytest.raises(ValueError, match="delay 13"):
        Driver(policy, lambda batch: batch, lambda actions: actions, "naive", 13, EVERY)


def test_intervals() -> None:
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.404, abs=0.002) and high == pytest.approx(0.596, abs=0.002)
    assert wilson(0, 20)[0] == 0 and wilson(20, 20)[1] == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_script_learns_measures_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--steps", "3", "--episodes", "4"]
    first = subprocess.run([*command, "--delay", "0", "2"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr[-3000:]
    assert "| 2 |" in first.stdout and (tmp_path / "rtc_success.png").is_file()
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    again = subprocess.run([*command, "--delay", "0", "2", "4"], capture_output=True, text=True)
    assert again.returncode == 0 and "| 4 |" in again.stdout
    assert all(path.stat().st_mtime_ns == mark for path, mark in marks.items())
