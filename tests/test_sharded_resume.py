"""FSDP on two CPU processes, killed and resumed through LeRobot's own checkpoints."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from sharded_run import PROCESSES, Run, run, run_config

from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.planning.network import Load, sharded_memory
from lerobot_xwam.planning.tiers import parts_of_shards


@pytest.mark.parametrize(
    "micro_batch", [pytest.param(0, id="plain"), pytest.param(1, id="in passes", marks=pytest.mark.slow)]
)
def test_fsdp_resumes_exactly(tmp_path: Path, micro_batch: int) -> None:
    whole = Run(tmp_path / "whole", steps=4, save_after=2, micro_batch=micro_batch)
    run(whole)
    losses = whole.losses()
    assert len(set(losses)) == 4
    cut = Run(tmp_path / "cut", steps=4, save_after=2, killed_in=4, micro_batch=micro_batch)
    assert run(cut) == [-signal.SIGKILL] * PROCESSES
    assert not (cut.folder / "end").exists()
    run(Run(cut.folder, steps=4, save_after=2, resume=True, micro_batch=micro_batch))
    assert cut.losses() == losses[2:]
    for name in ("pretrained_model/model", "training_state/optimizer_state"):
        one, two = (load_file(r.folder / "end" / f"{name}.safetensors") for r in (whole, cut))
        assert one.keys() == two.keys()
        assert all(one[key].equal(two[key]) for key in one)


@pytest.mark.parametrize("kind", ["fsdp1", pytest.param("ddp", marks=pytest.mark.slow)])
def test_passes_make_the_same_training(tmp_path: Path, kind: str) -> None:
    once, passes = (Run(tmp_path / str(n), steps=3, save_after=3, micro_batch=n, kind=kind) for n in (0, 1))
    run(once)
    run(passes)
    assert passes.losses() == pytest.approx(once.losses(), rel=1e-5)


def test_shards_are_as_large_as_planned(tmp_path: Path) -> None:
    how = Run(tmp_path / "run", steps=2, save_after=9)
    run(how)
    load = Load(batch=2, views=2)
    planned = parts_of_shards(sharded_memory(run_config(how), load, PROCESSES))
    for held in how.shards():
        print(held, planned)
        assert held["weights"] == pytest.approx(planned.weights, rel=0.1)
        assert held["gradients"] == pytest.approx(planned.gradients, rel=0.1)
        assert held["moments"] == pytest.approx(planned.optimizer, rel=0.1)
    both = sum(held["weights"] for held in how.shards())
    assert both == sum(p.nbytes for p in XWAMPolicy(run_config(how)).parameters())
