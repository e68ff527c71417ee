"""Faults in LeRobot's own rollout: short here, half an hour in scripts/soak.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from soaking.legs import LONG, long_leg, short_legs
from soaking.report import judge
from soaking.samples import growth

from lerobot_xwam.robots.config_mock import XWAMMockConfig
from lerobot_xwam.robots.faults import Fault, Faults
from lerobot_xwam.robots.mock import XWAMMock

SCRIPT = Path(__file__).parent.parent / "scripts/soak.py"


def soak(out: Path, *options: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(SCRIPT), "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    logs = "".join(path.read_text()[-3000:] for path in out.glob("*/log.txt"))
    assert done.returncode == 0, done.stdout + done.stderr[-2000:] + logs
    return json.loads((out / "soak.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_minute_with_every_fault_that_a_rollout_survives(tmp_path: Path) -> None:
    """Real-time chunking, background imagination, monitor, guard and watch; two episodes are recorded."""
    (leg,) = soak(tmp_path, "--steps", "950", "--only", LONG, "--every", "25")
    assert set(leg["faults"]) == {"frozen", "slow", "nan_state", "broken", "denoising", "slow_disk"}
    assert leg["actions"]["actions"] > 300 and not leg["actions"]["not finite"]
    assert leg["dataset"]["episodes"] >= 2 and leg["dataset"]["cameras"] == ["observation.images.front"]
    assert leg["logged"]["frozen camera"] >= 1  # the watch was hit ...
    assert leg["logged"]["inference errors"] >= 2  # ... LeRobot's retries were ...
    assert leg["late_chunks_counted"] == leg["logged"]["late chunks"] >= 1  # ... and deadlines, all said
    assert leg["dataset"]["monitor lines"] > leg["monitor"]["comparisons"] > 0
    assert (tmp_path / "soak.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_end_ends_well(tmp_path: Path) -> None:
    legs = soak(tmp_path, "--steps", "60", "--short-steps", "60")
    assert len(legs) == 1 + len(short_legs(60))


def robot() -> XWAMMock:
    mock = XWAMMock(
        XWAMMockConfig(id="faulty", cameras="front", height=16, width=16, depth=False, real_time=False)
    )
    mock.connect()
    return mock


def test_faults_come_when_they_are_due() -> None:
    mock, net = robot(), torch.nn.Identity()
    schedule = [
        Fault("nan_state", 2, 1),
        Fault("drop_out", 3, 1),
        Fault("frozen", 5, 2),
        Fault("denoising", 7, 1),
    ]
    faults = Faults(schedule)
    net.forward = lambda x: SimpleNamespace(velocity=SimpleNamespace(actions=x))  # type: ignore[method-assign]
    faults.attach(mock, net)
    seen: list[np.ndarray] = []
    for step in range(1, 9):
        if step == 3:
            with pytest.raises(TimeoutError, match="injected"):
                mock.get_observation()
            continue
        observation = mock.get_observation()
        assert np.isnan(observation["base_angle.pos"]) == (step == 2)
        seen.append(observation["front"])
        if step == 7:
            with pytest.raises(RuntimeError, match="injected"):
                net(torch.zeros(2))
        else:
            assert torch.isfinite(net(torch.zeros(2)).velocity.actions).all()
        mock.send_action(
            {key: value for key, value in observation.items() if key.endswith(".pos")}
            | {"base_angle.pos": 0.1 * step}
        )
    assert faults.step == 8
    assert faults.hit == {"nan_state": 2, "drop_out": 1, "frozen": 2, "denoising": 1}
    assert np.array_equal(seen[3], seen[4]) and np.array_equal(seen[2], seen[3])
    mock.disconnect()


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="'gremlins' is unknown"):
        Fault("gremlins", 0, 1)  # type: ignore[arg-type]


def test_growth_is_found_and_rest_is_not() -> None:
    def samples(per_step: float, threads: int) -> list[dict[str, Any]]:
        rng = np.random.default_rng(0)
        return [
            {
                "step": step,
                "memory_mb": 500 + per_step * step + rng.normal(0, 2),
                "threads": 5 + threads * step // 10_000,
                "tasks": 9,
                "files": 30,
            }
            for step in range(0, 20_000, 100)
        ]

    quiet, leaky = growth(samples(0.0, 0)), growth(samples(0.004, 3))
    assert abs(quiet["memory_mb_per_1000_steps"]) < 0.2 and quiet["threads_last_third"] == 5
    assert leaky["memory_mb_per_1000_steps"] == pytest.approx(4, abs=0.2)
    whole = {
        "ended": "",
        "expected": "",
        "planned": ["slow"],
        "faults": {"slow": 3},
        "actions": {"actions": 9},
        "late_chunks_counted": 2,
        "logged": {"late chunks": 2},
        "dataset": {},
        "imaginations": {"failed": 0},
        "monitor": {"failed": 0},
    }
    assert judge({**whole, "growth": quiet}) == []
    assert any("memory grows" in wrong for wrong in judge({**whole, "growth": leaky}))
    assert any("threads grow" in wrong for wrong in judge({**whole, "growth": leaky}))
    assert any("late chunks" in wrong for wrong in judge({**whole, "logged": {}}))
    assert any("never happened" in wrong for wrong in judge({**whole, "faults": {}}))
    assert any("NaN reached" in wrong for wrong in judge({**whole, "actions": {"not finite": 1}}))
    assert any("wanted" in wrong for wrong in judge({**whole, "ended": "ValueError: x"}))


def test_the_long_leg_meets_every_fault_in_every_phase() -> None:
    faults = long_leg(27_000).faults
    assert len(faults) > 40 and {fault.kind for fault in faults} == {
        fault.kind for fault in long_leg(950).faults
    }
    starts = [fault.start % 900 for fault in faults]
    assert len(set(starts)) > 20
