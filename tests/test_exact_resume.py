"""`kill -9` in the middle of training: the run that is resumed is the run that was never killed.

Bit for bit, losses and weights, in every way of training. Each run is LeRobot's own training command.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from unittest.mock import patch

import forked
import pytest
from commands import checkpoint, policy_options, train_here, train_options
from safetensors.torch import load_file
from toys import ONE_CAMERA

from lerobot_xwam.modeling_xwam import XWAMPolicy

STEPS, SAVED = 5, 2  # a checkpoint after 2 steps and after 4; killed before either is the last one
FAST = {"optimizer_lr": 1e-2, "scheduler_warmup_steps": 1}
WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "averaged": {"ema_decay": 0.9},
    "in passes": {"micro_batch": 1, "checkpoint_every": 1},
    "8 bit": {"optimizer_8bit": True, "dim": 64, "ffn_dim": 128},
    "all of them": {"ema_decay": 0.5, "micro_batch": 2, "optimizer_8bit": True, "dim": 64, "ffn_dim": 128},
}


def options(output: Path, start: list[str]) -> list[str]:
    settings = ["--batch_size=3", f"--steps={STEPS}", f"--save_freq={SAVED}"]
    return train_options(ONE_CAMERA, output, *settings, policy=start)


def resume(output: Path) -> list[float]:
    config = output / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    return train_here(f"--config_path={config}", "--resume=true")


def killed_in_step(number: int, output: Path, start: list[str]) -> None:
    """Train in a process that gets SIGKILL in the forward of that step."""

    def train() -> None:
        original, calls = XWAMPolicy.forward, []

        def forward(policy: XWAMPolicy, *args: object, **kwargs: object) -> object:
            calls.append(1)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(policy, *args, **kwargs)

        with patch.object(XWAMPolicy, "forward", forward):
            train_here(*options(output, start))

    ended = forked.run(train, output.with_suffix(".log"))
    assert ended.code == -signal.SIGKILL, ended.output


def same_files(one: Path, two: Path, names: list[str]) -> None:
    for name in names:
        first, second = load_file(one / name), load_file(two / name)
        assert first.keys() == second.keys()
        assert all(first[key].equal(second[key]) for key in first), name


def check(tmp_path: Path, start: list[str], weights: str, averaged: bool) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    losses = train_here(*options(whole, start))
    assert len(losses) == STEPS
    killed_in_step(4, cut, start)
    assert (cut / "checkpoints" / "last").resolve().name == f"{SAVED:06d}"
    assert resume(cut) == losses[SAVED:]
    a, b = checkpoint(whole, STEPS), checkpoint(cut, STEPS)
    same_files(a, b, [weights, *(["ema.safetensors"] if averaged else [])])
    same_files(a.parent / "training_state", b.parent / "training_state", ["optimizer_state.safetensors"])
    assert (a / "ema.safetensors").exists() == averaged


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way == "all of them" else pytest.mark.slow) for way in WAYS]
)
def test_resumes_exactly(way: str, tmp_path: Path) -> None:
    settings = WAYS[way]
    check(tmp_path, policy_options(**FAST, **settings), "model.safetensors", "ema_decay" in settings)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="plain", marks=pytest.mark.slow),
        pytest.param(["--policy.micro_batch=1"], id="in passes", marks=pytest.mark.slow),
        pytest.param(["--policy.ema_decay=0.9"], id="averaged"),
    ],
)
def test_an_adapter_resumes_exactly(more: list[str], tmp_path: Path) -> None:
    base = tmp_path / "base"
    train_here(*train_options(ONE_CAMERA, base, "--batch_size=2", "--steps=1"))
    fast = [f"--policy.{name}={value}" for name, value in FAST.items()]
    start = [f"--policy.path={checkpoint(base, 1)}", "--policy.push_to_hub=false", *fast, *more]
    averaged = any("ema_decay" in option for option in more)
    check(tmp_path, [*start, "--peft.method_type=LORA", "--peft.r=4"], "adapter_model.safetensors", averaged)


def test_killed_while_saving(tmp_path: Path) -> None:
    """Half of a checkpoint is no checkpoint: `last` still names the one before, and the run goes on there."""
    whole, cut, start = tmp_path / "whole", tmp_path / "cut", policy_options(**FAST, ema_decay=0.9)
    losses = train_here(*options(whole, start))

    def train() -> None:
        original, calls = XWAMPolicy._save_pretrained, []

        def save(policy: XWAMPolicy, folder: Path, state_dict: object = None) -> None:
            original(policy, folder, state_dict)
            calls.append(1)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        with patch.object(XWAMPolicy, "_save_pretrained", save):
            train_here(*options(cut, start))

    ended = forked.run(train, tmp_path / "log")
    assert ended.code == -signal.SIGKILL, ended.output
    assert checkpoint(cut, 4).is_dir()
    assert resume(cut) == losses[SAVED:]
    same_files(checkpoint(whole, STEPS), checkpoint(cut, STEPS), ["model.safetensors", "ema.safetensors"])
