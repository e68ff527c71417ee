"""Every ready configuration is one that LeRobot reads and the policy accepts."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from commands import train_here
from lerobot.configs import parser
from lerobot.configs.train import TrainPipelineConfig
from lerobot.rollout.configs import RolloutConfig
from toys import small_config

import lerobot_xwam
from lerobot_xwam.cli.main import main
from lerobot_xwam.converting.mapping_files import ready
from lerobot_xwam.mixing.recipe import Recipe

PAPERS = ("pretrain", "robocasa", "robotwin")
CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.json"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_is_read_by_lerobot(path: Path) -> None:
    config = TrainPipelineConfig.from_pretrained(path, cli_args=["--policy.device=cpu"])
    assert isinstance(config.policy, lerobot_xwam.XWAMConfig)
    assert config.policy.chunk_size == (16 if path.stem in ("small", "ablation", "play") else 32)
    assert config.steps > 0


def test_says_what_each_is_for() -> None:
    table = (CONFIGS[0].parent / "README.md").read_text()
    assert len(CONFIGS) >= 5
    assert all(f"`{path.name}`" in table for path in CONFIGS)


@pytest.mark.parametrize(
    ("name", "lr", "steps", "warmup"),
    [("pretrain", 1e-4, 40_000, 1_000), ("robocasa", 3e-5, 20_000, 1_000), ("robotwin", 3e-5, 20_000, 1_000)],
)
def test_has_the_papers_numbers(name: str, lr: float, steps: int, warmup: int) -> None:
    path = CONFIGS[0].parent / f"{name}.json"
    config = TrainPipelineConfig.from_pretrained(path, cli_args=["--policy.device=cpu"])
    optimizer, scheduler = config.policy.get_optimizer_preset(), config.policy.get_scheduler_preset()
    assert (optimizer.lr, config.steps, scheduler.num_warmup_steps) == (lr, steps, warmup)
    assert (optimizer.grad_clip_norm, scheduler.name) == (1.0, "cosine")


def test_the_papers_batches() -> None:
    """2,048 in pre-training and 128 in fine-tuning, on as many processes as each file and README.md say."""
    folder = CONFIGS[0].parent
    sizes = {name: json.loads((folder / f"{name}.json").read_text())["batch_size"] for name in PAPERS}
    gpus = yaml.safe_load((folder / "accelerate_8x8gpu_fsdp.yaml").read_text())["num_processes"]
    assert sizes["pretrain"] * gpus == 2048 and sizes["robocasa"] * 8 == sizes["robotwin"] * 8 == 128


def test_the_recipe_of_the_papers_mixture(tmp_path: Path) -> None:
    """Seven sources; what has to be filled in is said when it was not."""
    recipe = Recipe.read(CONFIGS[0].parent / "mixtures" / "pretrain.json")
    assert len(recipe.sources) == 7 and "droid" in [source.name for source in recipe.sources]
    datasets = [source.dataset for source in recipe.sources]
    assert datasets == [*(f"data/{name}" for name in ready()), "YOUR_SOURCE_6", "YOUR_SOURCE_7"]
    unknown = tmp_path / "recipe.json"
    unknown.write_text('{"sources": [{"name": "a", "dataset": "b", "wieght": 1}]}')
    with pytest.raises(ValueError, match="wieght"):
        Recipe.read(unknown)


def test_what_is_missing_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe names every source that is not there; lerobot-train says what its configuration lacks."""
    folder = CONFIGS[0].parent
    monkeypatch.chdir(tmp_path)
    command = ["mix", "--recipe", str(folder / "mixtures" / "pretrain.json"), "--out", str(tmp_path / "mix")]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert (
        "7 of 7 sources are not there" in error and f"droid: {tmp_path / 'data/droid'}: no dataset" in error
    )
    assert all(f"source-{i}: 'YOUR_SOURCE_{i}' is a placeholder" in error for i in (6, 7))

    with pytest.raises(ValueError, match=r"2 thing\(s\) missing") as told:
        train_here(f"--config_path={folder / 'pretrain.json'}", "--policy.device=cpu")
    assert f"{tmp_path / 'data/pretraining-mixture'} holds none" in str(told.value)
    assert "base_weights is still 'YOUR_NAME/xwam-wan2.2-init'" in str(told.value)
    assert "lerobot-xwam mix --recipe configs/mixtures/pretrain.json" in str(told.value)
    for name in ("robocasa", "robotwin"):
        with pytest.raises(ValueError, match=f"dataset.repo_id is still 'YOUR_NAME/{name}-rgbd'"):
            train_here(f"--config_path={folder / f'{name}.json'}", "--policy.device=cpu")
    filled = ["--policy.base_weights=me/base", f"--dataset.root={tmp_path / 'mine'}"]
    with pytest.raises(
        ValueError, match=r"1 thing\(s\) missing:\n  dataset 'local/pretraining-mixture'.*/mine"
    ):
        train_here(f"--config_path={folder / 'pretrain.json'}", "--policy.device=cpu", *filled)


def test_placeholders_are_named_in_the_readme() -> None:
    """Whatever is to be filled in is told where the files are listed."""
    folder = CONFIGS[0].parent
    told = (folder / "README.md").read_text()
    for file in [folder / "mixtures" / "pretrain.json", *(folder / f"{name}.json" for name in PAPERS)]:
        for placeholder in set(re.findall(r"YOUR_[A-Z]+(?:_\d)?(?:/[\w.-]+)?", file.read_text())):
            assert f"`{placeholder}`" in told, f"{file.name}: {placeholder}"


def test_the_papers_deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lerobot-rollout reads it: 15 Hz, 15 of 32 actions executed, room for 6 of delay."""
    pytest.importorskip("lerobot.robots.so_follower")
    pytest.importorskip("lerobot.cameras.opencv")
    small_config(num_frames=9, n_action_steps=15).save_pretrained(tmp_path)
    path = CONFIGS[0].parent / "rollout" / "real_robot.json"
    for remembered in ("_config_path_args", "_config_yaml_overrides"):  # by LeRobot, for the whole program
        monkeypatch.setattr(parser, remembered, {})
    monkeypatch.setattr(sys, "argv", ["rollout", f"--config_path={path}", f"--policy.path={tmp_path}"])

    def read(cfg: RolloutConfig) -> RolloutConfig:
        return cfg

    read.__annotations__["cfg"] = RolloutConfig  # LeRobot wants the class itself
    cfg = parser.wrap()(read)()
    policy, rtc = cfg.policy, cfg.inference.rtc
    assert isinstance(policy, lerobot_xwam.XWAMConfig)
    assert cfg.fps == 15 and policy.chunk_size == 32
    left = cfg.inference.queue_threshold
    assert policy.chunk_size - left == policy.n_action_steps == 15
    assert rtc.enabled and rtc.execution_horizon == left > 6
    assert policy.deadline_s == pytest.approx(6 / cfg.fps)
    assert policy.stale_after == 2 and policy.imagine == "off"
    trained = TrainPipelineConfig.from_pretrained(
        CONFIGS[0].parent / "real_robot.json", cli_args=["--policy.device=cpu"]
    ).policy
    assert trained.n_action_steps == 15 and trained.action_steps == 8 and trained.rtc_training_delay >= 6
    assert all(
        f"`--{name}" in (CONFIGS[0].parent / "README.md").read_text() for name in ("fps=15", "policy.imagine")
    )
