"""The closed loop of scripts/plot_rtc.py, with a policy whose chunks are known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rtc_loop.driving import EXECUTED, Pilot, drive, returns_whole_chunk
from rtc_loop.jumps import Drive, at_borders, within_chunks
from rtc_loop.known import known_pilot
from rtc_loop.report import write_report
from rtc_loop.wiping import Wiper
from torch import Tensor


@dataclass
class Ramp:
    """Every chunk is a slow ramp from where its number puts it; a prefix is gone on from."""

    length: int = 32
    asked: list[int] = field(default_factory=list)  # what was left of the last chunk
    after: Any = field(default_factory=lambda: SimpleNamespace(reset=lambda: None))
    policy: Any = field(default_factory=lambda: SimpleNamespace(reset=lambda: None))

    def chunk(self, seen: dict[str, Any], **plan: Any) -> Tensor:
        assert seen["observation.state"].shape == (5,) and seen["observation.images.front"].ndim == 3
        start = torch.tensor(0.3 + 0.1 * (len(self.asked) % 2))
        if plan:
            self.asked.append(len(plan["prev_chunk_left_over"]))
            start = plan["prev_chunk_left_over"][0, 0]
        else:
            self.asked.append(0)
        return (start + 0.001 * torch.arange(self.length))[:, None].expand(-1, 5)

    def in_robot_units(self, chunk: Tensor) -> Tensor:
        return chunk

    def scaled(self, actions: Tensor) -> Tensor:
        return actions


@pytest.mark.parametrize("delay", [1, 6, 12])
def test_naive_switching_jumps_and_going_on_does_not(delay: int) -> None:
    jumps = {}
    for method in ("naive", "prefix"):
        pilot: Any = Ramp()
        done = drive(pilot, method, delay, seed=7, fps=15, ticks=60)
        assert done.borders == [EXECUTED * n + delay for n in range(1, len(done.borders) + 1)]
        assert len(done.borders) >= 2 and done.gaps == 0
        assert set(pilot.asked[1:]) == ({0} if method == "naive" else {32 - EXECUTED})
        jumps[method] = at_borders([done])
        assert within_chunks([done]).largest < 1e-5
    assert jumps["naive"].largest == pytest.approx(0.1, abs=0.02)
    assert jumps["prefix"].largest < 1e-5


@pytest.mark.parametrize("delay", [1, 2, 12])
def test_with_the_best_network_chunks_meet_without_a_jump(delay: int) -> None:
    """On the mock robot, through the policy as it ships; only the network is replaced by its ideal."""
    pilot, met = known_pilot(), {}
    for method in ("naive", "prefix"):
        drives = [drive(pilot, method, delay, seed, fps=15, ticks=60) for seed in (1000, 1001)]
        assert sum(each.gaps for each in drives) == 0
        met[method] = at_borders(drives)
    assert met["naive"].largest > 3 * met["prefix"].largest
    assert met["naive"].rms > 3 * met["prefix"].rms
    assert returns_whole_chunk(pilot, 1000, fps=15)


def test_gaps_are_counted() -> None:
    pilot: Any = Ramp(length=18)  # 3 actions are left to bridge 5
    done = drive(pilot, "naive", 5, seed=7, fps=15, ticks=60)
    assert done.gaps == 2 * len(done.borders) > 0


def test_second_differences_at_borders_and_elsewhere() -> None:
    actions = np.zeros((12, 1))
    actions[6:] = 1.0  # a step between 5 and 6
    actions[2] = 0.25
    done = Drive(actions, borders=[6], gaps=0)
    assert at_borders([done, done]).largest == 1.0 and at_borders([done]).rms == 1.0
    assert within_chunks([done]).largest == 0.5


def test_the_report_is_written(tmp_path: Path) -> None:
    rough = {"largest": 0.1, "rms": 0.05}
    one = {"at_borders": rough, "within_chunks": rough, "borders": 3, "gaps": 0}
    rows = [{"delay": delay, "naive": one, "prefix": one} for delay in (1, 2)]
    write_report(tmp_path / "out", {"fps": 15, "demonstrations": rough, "delays": rows})
    assert json.loads((tmp_path / "out/rtc.json").read_text())["delays"] == rows
    assert (tmp_path / "out/rtc.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("episode", [1, 3])
def test_the_operator_wipes_smoothly_and_starts_where_he_waited(episode: int) -> None:
    operator = Wiper(60, 45)
    steps = np.array([list(operator.get_action().values()) for _ in range(4 * 105)])
    wiped = steps[episode * 105 : episode * 105 + 60]
    waiting = steps[(episode - 1) * 105 + 60 : episode * 105]
    assert np.ptp(waiting, axis=0).max() == 0 and np.abs(waiting[-1] - wiped[0]).max() == 0
    speed = np.abs(np.diff(wiped[:, :2], axis=0)).max(axis=0)
    bend = np.abs(np.diff(wiped[:, :2], n=2, axis=0)).max(axis=0)
    assert (speed > 0.01).all() and (bend < speed / 3).all()
    assert np.ptp(wiped[:, 2:], axis=0).max() == 0
    assert (steps[:, :2] > [-1, 0.2]).all() and (steps[:, :2] < [1, 0.48]).all()


def test_still_joints_do_not_count() -> None:
    low, high = torch.tensor([0.0, 1.0, -1.0]), torch.tensor([2.0, 1.0, 1.0])
    pilot = Pilot(None, None, None, low, high, "wipe the table")  # type: ignore[arg-type]
    scaled = pilot.scaled(torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, -1.0]]))
    assert torch.equal(scaled, torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
