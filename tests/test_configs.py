"""Every ready configuration is one that LeRobot reads and the policy accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
from lerobot.configs.train import TrainPipelineConfig

import lerobot_xwam

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.json"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_is_read_by_lerobot(path: Path) -> None:
    config = TrainPipelineConfig.from_pretrained(path, cli_args=["--policy.device=cpu"])
    assert isinstance(config.policy, lerobot_xwam.XWAMConfig)
    assert config.policy.chunk_size == 32
    assert config.steps > 0


def test_says_what_each_is_for() -> None:
    table = (CONFIGS[0].parent / "README.md").read_text()
    assert len(CONFIGS) >= 5
    assert all(f"`{path.name}`" in table for path in CONFIGS)


@pytest.mark.parametrize(
    ("name", "lr", "steps", "warmup"),
    [("pretrain", 1e-4, 40_000, 1_000), ("robocasa", 3e-5, 20_000, 200), ("robotwin", 3e-5, 20_000, 200)],
)
def test_has_the_papers_numbers(name: str, lr: float, steps: int, warmup: int) -> None:
    path = CONFIGS[0].parent / f"{name}.json"
    config = TrainPipelineConfig.from_pretrained(path, cli_args=["--policy.device=cpu"])
    optimizer, scheduler = config.policy.get_optimizer_preset(), config.policy.get_scheduler_preset()
    assert (optimizer.lr, config.steps, scheduler.num_warmup_steps) == (lr, steps, warmup)
    assert (optimizer.grad_clip_norm, scheduler.name) == (1.0, "cosine")
