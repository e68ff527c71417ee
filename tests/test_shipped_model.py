"""The small model that comes with the repository: complete, small, as its card says, and able to act."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from commands import eval_here, lerobot
from lerobot.configs import PreTrainedConfig

from lerobot_xwam import XWAMConfig
from lerobot_xwam.evaluation_results import EvaluationResults
from lerobot_xwam.modeling_xwam import XWAMPolicy

CARDS = Path(__file__).parent.parent / "hub_cards"
SHIPPED, PLAYED = CARDS / "xwam-small-robosuite", CARDS / "xwam-tiny-play"
TASKS = "lift,stack,two_arm_lift"
MEGABYTE = 1_000_000


def test_everything_is_there_and_small() -> None:
    names = {file.name for file in SHIPPED.iterdir()}
    assert {
        *("README.md", "config.json", "model.safetensors", "train_config.json", "eval_info.json"),
        *("policy_preprocessor.json", "policy_postprocessor.json"),
    } <= names
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 20 * MEGABYTE


@pytest.mark.parametrize("folder", [SHIPPED, PLAYED], ids=lambda folder: folder.name)
def test_nothing_tells_of_the_machine_that_made_it(folder: Path) -> None:
    for file in folder.glob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert not re.findall(r'"(/|~|\.\./|[A-Z]:\\)[^"]*"', text), file.name
    config = PreTrainedConfig.from_pretrained(folder)
    assert isinstance(config, XWAMConfig)
    assert config.device is None or config.device in ("cpu", "cuda")
    assert not config.latent_cache and not config.text_cache and not config.base_weights


def test_the_card_has_the_results_of_the_file_and_no_others() -> None:
    results = EvaluationResults.read(SHIPPED / "eval_info.json")
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(\w+)` \| (\d+ of \d+) ", card, flags=re.MULTILINE))
    assert said == {each.group: f"{each.successes} of {each.episodes}" for each in results.tasks}
    assert set(TASKS.split(",")) == set(said)


@pytest.mark.parametrize("folder", [SHIPPED, PLAYED], ids=lambda folder: folder.name)
def test_it_loads_in_float32_and_is_as_large_as_the_card_says(folder: Path) -> None:
    policy = XWAMPolicy.from_pretrained(folder)
    parameters = list(policy.parameters())
    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in parameters)
    millions = sum(parameter.numel() for parameter in parameters) / 1e6
    assert f"{millions:.1f} M parameters" in (folder / "README.md").read_text(encoding="utf-8")


def eval_options(tmp_path: Path, *more: str) -> list[str]:
    return [
        f"--policy.path={SHIPPED}",
        "--policy.device=cpu",
        "--env.type=xwam_robosuite",
        f"--env.task={TASKS}",
        "--env.cameras=front,hand,second",
        "--env.arms=2",
        "--env.interface=raw",
        "--env.episode_length=9",
        "--eval.n_episodes=2",
        "--eval.batch_size=2",
        "--eval.use_async_envs=false",
        "--seed=1000000",
        f"--output_dir={tmp_path}",
        *more,
    ]


@pytest.mark.timeout(600)
def test_lerobot_eval_runs_it_in_all_its_tasks(tmp_path: Path) -> None:
    """Structure, not success: two short episodes each."""
    lerobot("eval", *eval_options(tmp_path), timeout=550)
    held = json.loads((tmp_path / "eval_info.json").read_text())
    assert [each["task_group"] for each in held["per_task"]] == TASKS.split(",")
    assert all(len(each["metrics"]["successes"]) == 2 for each in held["per_task"])
    assert len(list(tmp_path.rglob("*.mp4"))) == 6


def test_another_picture_size_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="height=64: this checkpoint was trained with 96"):
        eval_here(*eval_options(tmp_path, "--policy.height=64"))
