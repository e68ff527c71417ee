"""scripts/peers.py: LeRobot's own policies on one task's demonstrations, and their table."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
import torch
from peering import act_from_scratch
from peering.demonstrations import episodes_of, write_view
from toys import THREE_CAMERAS, dataset_root

ROOT = Path(__file__).parent.parent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two episodes of RGB-D with a note that says which tasks they are."""
    root = tmp_path / "source"
    root.mkdir()
    for part in dataset_root(THREE_CAMERAS).iterdir():
        if part.name != "meta":
            (root / part.name).symlink_to(part)
    shutil.copytree(dataset_root(THREE_CAMERAS) / "meta", root / "meta")
    episodes = [{"task": "lift", "seed": 0}, {"task": "stack", "seed": 0}]
    (root / "meta/collected.json").write_text(json.dumps({"episodes": episodes}))
    return root


def test_a_peer_sees_one_task_and_no_depth(source: Path, tmp_path: Path) -> None:
    from lerobot.datasets import LeRobotDataset

    episodes = write_view(source, "stack", tmp_path / "view")
    assert episodes == [1]
    view = LeRobotDataset("local/view", root=tmp_path / "view", episodes=episodes, video_backend="pyav")
    whole = LeRobotDataset("local/whole", root=source, episodes=[1], video_backend="pyav")
    assert len(view) == len(whole)
    one, two = view[7], whole[7]
    assert {key for key in two if key not in one} == {
        f"observation.images.{name}_depth" for name in THREE_CAMERAS.cameras
    }
    for key, value in one.items():  # frame for frame the same demonstrations
        assert torch.equal(value, two[key]) if torch.is_tensor(value) else value == two[key], key
    actions = torch.stack([whole.hf_dataset[i]["action"] for i in range(len(whole))]).numpy()
    found = view.meta.stats["action"]
    assert np.allclose(found["min"], actions.min(axis=0)) and np.allclose(found["max"], actions.max(axis=0))
    assert not np.allclose(found["mean"], whole.meta.stats["action"]["mean"])  # those are of both tasks


def test_a_task_that_is_not_there(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episode of 'door', only of lift, stack"):
        episodes_of(source, "door")
    (source / "meta/collected.json").unlink()
    with pytest.raises(ValueError, match=r"no meta/collected.json"):
        episodes_of(source, "lift")


def test_no_backbone_has_frozen_or_trained_beginnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """ACT through the wrapper, the diffusion policy by its settings: GroupNorm, learning, untrained."""
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.act import modeling_act
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
    from torch import nn

    monkeypatch.setattr(modeling_act, "FrozenBatchNorm2d", act_from_scratch.group_norm)
    features = {
        "observation.state": PolicyFeature(FeatureType.STATE, (16,)),
        "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, 96, 128)),
    }
    action = {"action": PolicyFeature(FeatureType.ACTION, (14,))}
    kinds = {
        "act": (ACTConfig, modeling_act.ACTPolicy),
        "diffusion": (DiffusionConfig, DiffusionPolicy),
    }
    for name, (config_class, policy_class) in kinds.items():
        settings = json.loads((peers.PEERING / f"{name}.json").read_text())["policy"]
        assert settings.pop("type") == name and settings["pretrained_backbone_weights"] is None
        settings |= {key: tuple(value) for key, value in settings.items() if isinstance(value, list)}
        policy = policy_class(config_class(input_features=features, output_features=action, **settings))
        layers = [type(module).__name__ for module in policy.modules() if not list(module.children())]
        assert layers.count("GroupNorm") >= 17 and not any("BatchNorm" in layer for layer in layers), name
        norms = [module for module in policy.modules() if isinstance(module, nn.GroupNorm)]
        assert all(parameter.requires_grad for norm in norms for parameter in norm.parameters())


def given(out: Path, **changed: Any) -> Namespace:
    settings = {"peer": ["diffusion"], "task": ["lift", "stack"], "minutes": 30.0, "episodes": 4, "seed": 10}
    return Namespace(out=out, also=[("ours", "folder")], **{**settings, **changed})


def write_success(folder: Path, successes: list[bool]) -> None:
    (folder / "success").mkdir(parents=True)
    percent = 100 * sum(successes) / len(successes)
    evaluated = {
        "overall": {"pc_success": percent, "n_episodes": len(successes), "eval_ep_s": 6.0},
        "per_task": [{"task_group": "lift", "task_id": 0, "metrics": {"successes": successes}}],
    }
    (folder / "success/eval_info.json").write_text(json.dumps(evaluated))


def test_the_table_shows_what_is_there(tmp_path: Path) -> None:
    write_success(tmp_path / "runs/diffusion-lift", [True, False, True, True])
    (tmp_path / "runs/diffusion-lift/steps.json").write_text(json.dumps({"steps": 900}))
    (tmp_path / "runs/diffusion-lift/logs").mkdir()
    (tmp_path / "runs/diffusion-lift/logs/train-0.log").write_text("updt_s:1.900 data_s:0.100\n")
    trained = tmp_path / "runs/diffusion-lift/train" / peers.LAST
    trained.mkdir(parents=True)
    (trained / "train_config.json").write_text(json.dumps({"batch_size": 32}))
    write_success(tmp_path / "runs/ours-lift", [True] * 4)
    bouts = [peers.Bout("diffusion", task) for task in ("lift", "stack")]
    # one training and an evaluation of each policy in stack: 30 min + 2 x 4 x 6 s + the start
    assert peers.left(bouts, given(tmp_path)) == "about 31 min"
    text = peers.write(given(tmp_path))
    assert "| diffusion | 3/4 = 75 % (30 to 95) | missing | lift: 900 x 32 in 30.0 min |" in text
    assert "| ours | 4/4 = 100 % (51 to 100) | missing | one policy for all tasks, see its card |" in text
    assert "one policy was trained for each task" in text
    held = json.loads((tmp_path / "peers.json").read_text())
    assert held["diffusion"]["stack"] is None and held["diffusion"]["lift"]["successes"] == 3


def test_a_name_stands_for_one_policy(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    for _ in range(2):
        peers.keep_policy(tmp_path / "runs/ours-lift", "ours", str(tmp_path))
    weights.write_bytes(b"two")
    with pytest.raises(ValueError, match="results of another 'ours'"):
        peers.keep_policy(tmp_path / "runs/ours-lift", "ours", str(tmp_path))


def test_settings_are_not_mixed(source: Path, tmp_path: Path) -> None:
    options = {"dataset": source, "extra": [], "demonstrations": None}
    peers.keep(peers.settings_of(given(tmp_path, **options)), tmp_path / "out")
    changed = peers.settings_of(given(tmp_path, **{**options, "minutes": 31.0}))
    with pytest.raises(ValueError, match=r"minutes: was 30.0, is 31.0"):
        peers.keep(changed, tmp_path / "out")


def test_as_many_steps_as_fit_are_chosen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def fake_train(fresh: list[str], output: Path, steps: int, position: str, doing: str, logs: Path) -> None:
        timed.append(steps)
        output.mkdir(parents=True)
        logs.mkdir(parents=True)
        (logs / "train-0.log").write_text(
            "updt_s:60.0 data_s:0.0\nupdt_s:3.9 data_s:0.1\nupdt_s:3.9 data_s:0.1\n"
        )

    monkeypatch.setattr(peers, "train", fake_train)
    bout, data = peers.Bout("act", "lift"), (tmp_path / "data", [0, 1])
    options = given(tmp_path, extra=["--batch_size=4"])
    for _ in range(2):
        assert peers.steps_that_fit(bout, data, tmp_path, options) == 450  # 1800 s / 4 s: without the start
    assert timed == [peers.PROBED]
    command = peers.training(bout, data, tmp_path / "train", 450, options.extra)
    assert command[:3] == [sys.executable, str(peers.PEERING / "act_from_scratch.py"), "train"]
    assert "--dataset.episodes=[0, 1]" in command and command[-1] == "--batch_size=4"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_smallest_real_peer(tmp_path: Path) -> None:
    from commands import BIN, run

    data = [*("--arms=2", "--interface=raw", "--workers=1"), "--cameras", "front", "hand", "second"]
    where = tmp_path / "data"
    run(BIN / "lerobot-xwam", "collect", *data, "--episodes=1", f"--out={where}", timeout=600)
    options = [f"--dataset={where}", "--task=lift", "--minutes=0.05", "--episodes=1"]
    options += [f"--out={tmp_path / 'out'}", "--", "--batch_size=2"]
    run(sys.executable, ROOT / "scripts/peers.py", *options, timeout=1700)
    held = json.loads((tmp_path / "out/peers.json").read_text())
    assert all(held[name]["lift"]["episodes"] == 1 for name in ("act", "diffusion"))
