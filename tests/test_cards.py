"""Model cards: valid, complete, and without a number that nobody measured."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id
from safetensors.torch import save_file
from toys import ONE_CAMERA, make_toy

from lerobot_xwam.cli.main import VERBS, main
from lerobot_xwam.modeling_xwam import XWAMPolicy

ROOT = Path(__file__).parent.parent
CARDS = sorted((ROOT / "hub_cards").glob("*/README.md"))
SECTIONS = ["Lineage", "Licence", "Training data", "The paper's numbers", "Our numbers", "Paper"]
# Held against the card's numbers by test_shipped_model.py and test_follow_actions.py.
MEASURED = ("eval_info.json", "follow.json")
# What the paper reports; a rate in a card that is not among these was invented.
OF_THE_PAPER = {79.2, 67.1, 64.1, 62.5, 62.4, 60.8, 89.8, 90.7, 88.7, 87.0, 67.8}


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def refuse_bad_metadata(card: ModelCard) -> None:
    """What the Hub's own validation looks at, as far as it can be known without the Hub."""
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "lerobot"
    assert data["pipeline_tag"] == "robotics"
    assert all(isinstance(tag, str) for tag in data["tags"])
    assert {"robotics", "lerobot", "xwam", "arxiv:2604.26694"} <= set(data["tags"])
    assert len(set(data["tags"])) == len(data["tags"])
    for key in ("base_model", "datasets"):
        names = data.get(key, [])
        for name in [names] if isinstance(names, str) else names:
            validate_repo_id(name)
            assert name.count("/") == 1
    if "base_model_relation" in data:
        assert data["base_model_relation"] in {"finetune", "adapter", "merge", "quantized"}
        assert "base_model" in data


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_hub_cards_are_valid_and_complete(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    card = ModelCard(content)  # parses the front matter
    assert yaml.safe_load(content.split("---\n")[1]) == card.data.to_dict()
    refuse_bad_metadata(card)
    found = sections(card.text)
    assert set(SECTIONS) <= found.keys()
    assert "Apache-2.0" in found["Licence"]
    measured = any((path.parent / file).is_file() for file in MEASURED)
    assert measured or "None" in found["Our numbers"]
    known = {"The paper's numbers", *(["Our numbers"] if measured else [])}
    elsewhere = "".join(text for name, text in found.items() if name not in known)
    assert not re.findall(r"\d %", elsewhere), "a rate outside of the paper's numbers"
    rates = {float(number) for number in re.findall(r"([\d.]+) %", found["The paper's numbers"])}
    assert rates <= OF_THE_PAPER


def test_there_is_a_card_for_each_model_and_the_table_names_them() -> None:
    names = {path.parent.name for path in CARDS}
    of_5b = {"wan-init", "pretrained", "robocasa", "robotwin"}
    assert names == {f"xwam-{name}" for name in (*of_5b, "small-robosuite", "tiny", "tiny-play")}
    table = (ROOT / "hub_cards/README.md").read_text(encoding="utf-8")
    for name in names:
        assert f"]({name}/README.md)" in table


@pytest.mark.parametrize("path", [*CARDS, ROOT / "hub_cards/README.md"], ids=lambda path: path.parent.name)
def test_commands_in_cards_exist(path: Path) -> None:
    """Our verbs take these options, and the named configurations are there."""
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for word in words:
            if word.startswith("--config_path=") or word.startswith("configs/"):
                assert (ROOT / word.removeprefix("--config_path=")).is_file(), line
        if words[:1] == ["lerobot-xwam"]:
            parser = argparse.ArgumentParser(exit_on_error=False)
            VERBS[words[1]].add_arguments(parser)
            parser.parse_args(words[2:])


# --- the card of a checkpoint ---


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As lerobot-train leaves it, at step 3 of 9."""
    step = tmp_path_factory.mktemp("cards") / "000003"
    toy = make_toy(ONE_CAMERA)
    toy.policy.save_pretrained(step / "pretrained_model")
    settings = {"steps": 9, "batch_size": 2, "seed": 7, "dataset": {"repo_id": "somebody/lift"}}
    (step / "pretrained_model/train_config.json").write_text(json.dumps(settings))
    (step / "training_state").mkdir()
    (step / "training_state/training_step.json").write_text('{"step": 3}')
    return step


def eval_info(path: Path, **overall: Any) -> Path:
    """As lerobot-eval writes it: two tasks, three and one of four episodes."""
    tasks = [
        {"task_group": "tabletop", "task_id": i, "metrics": {"successes": outcomes, "sum_rewards": [1.0] * 4}}
        for i, outcomes in enumerate(([True, False, True, True], [False, False, True, False]))
    ]
    known = {"pc_success": 50.0, "n_episodes": 8, **overall}
    path.write_text(json.dumps({"per_task": tasks, "per_group": {}, "overall": known}))
    return path


def test_the_card_tells_the_real_configuration(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "README.md"
    assert main(["card", str(checkpoint), "--out", str(out), "--repo-id", "me/lift"]) == 0
    card = ModelCard(out.read_text(encoding="utf-8"))
    refuse_bad_metadata(card)
    policy = XWAMPolicy.from_pretrained(checkpoint / "pretrained_model")
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    for fact in (
        f"{parameters:,} parameters in float32",
        "32 x 48, 5 frames every 4 control steps",
        "Steps 3 of 9, batch size 2, seed 7",
        "Trained on `somebody/lift`",
        "--policy.path=me/lift",
        "2 blocks of width 32, 1 depth blocks",
        "none were recorded",
    ):
        assert fact in card.text, card.text
    assert "%" not in sections(card.text)["Results"]
    assert "{{" not in card.content and "{%" not in card.content


def test_results_come_with_their_counts_and_origin(checkpoint: Path, tmp_path: Path, capsys) -> None:
    info = eval_info(tmp_path / "eval_info.json")
    assert main(["card", str(checkpoint), "--results", str(info)]) == 0
    card = ModelCard(capsys.readouterr().out)
    results = sections(card.text)["Results"]
    assert "| tabletop 0 | 4 | 3 | 75.0 % |" in results
    assert "| tabletop 1 | 4 | 1 | 25.0 % |" in results
    assert "| **all** | 8 | 4 | 50.0 % |" in results
    assert "`eval_info.json` of `lerobot-eval` (sha256 `" in results
    (measured,) = card.data.eval_results
    assert (measured.metric_type, measured.metric_value) == ("success_rate", 50.0)
    assert "8 episodes" in measured.metric_name


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"success_rate": 99}', "no eval_info.json of lerobot-eval"),
        ("79.2", "no eval_info.json of lerobot-eval"),
        ("not json", "no eval_info.json of lerobot-eval"),
        ('{"overall": {"pc_success": 99, "n_episodes": 100}, "per_task": []}', "holds no episodes"),
    ],
)
def test_results_are_not_invented(checkpoint: Path, tmp_path: Path, capsys, content: str, why: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    out = tmp_path / "README.md"
    assert main(["card", str(checkpoint), "--results", str(path), "--out", str(out)]) == 1
    assert why in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("changed", [{"pc_success": 97.0}, {"n_episodes": 800}, {"pc_success": float("nan")}])
def test_results_that_do_not_add_up_are_refused(
    checkpoint: Path, tmp_path: Path, capsys, changed: dict[str, Any]
) -> None:
    path = eval_info(tmp_path / "eval_info.json", **changed)
    assert main(["card", str(checkpoint), "--results", str(path)]) == 1
    assert "its episodes are 4 successes of 8" in capsys.readouterr().err


def test_what_is_no_checkpoint_of_ours(checkpoint: Path, tmp_path: Path, capsys) -> None:
    def refused(folder: Path) -> str:
        assert main(["card", str(folder)]) == 1
        return capsys.readouterr().err

    assert "no X-WAM checkpoint" in refused(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"type": "act"}')
    assert "a policy of type 'act'" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": []}')
    assert "no configuration of a LeRobot policy" in refused(tmp_path)
    config = (checkpoint / "pretrained_model/config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    assert "neither weights nor an adapter" in refused(tmp_path)


def test_an_adapter_names_its_base(checkpoint: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "config.json").write_text((checkpoint / "pretrained_model/config.json").read_text())
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/xwam-base"}')
    save_file({"a": torch.zeros(4, 5)}, tmp_path / "adapter_model.safetensors")
    assert main(["card", str(tmp_path)]) == 0
    card = ModelCard(capsys.readouterr().out)
    assert card.data.base_model == "somebody/xwam-base"
    assert "An adapter of `somebody/xwam-base`" in card.text
    assert "a LoRA adapter, 20 parameters" in card.text
    assert "(as planned" not in card.text  # nothing is known of its training, so nothing is said
