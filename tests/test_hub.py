"""What a saved policy consists of, and its way to the Hub and back. Only HTTP is mocked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import checkpoint, policy_options, train_here, train_options
from fake_hub import FakeHub, serving
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.processor import PolicyProcessorPipeline
from safetensors.torch import load, load_file
from toys import ONE_CAMERA, make_toy, metadata, pack, random_frames, small_config

from lerobot_xwam.modeling_xwam import XWAMPolicy

REPO = "somebody/toy"
SAVED = {
    "config.json",
    "model.safetensors",
    "policy_preprocessor.json",
    "policy_preprocessor_step_4_xwam_pack.safetensors",
    "policy_postprocessor.json",
    "policy_postprocessor_step_0_xwam_unpack_action.safetensors",
    "policy_postprocessor_step_3_xwam_guard_action.safetensors",
    "train_config.json",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with pytest.MonkeyPatch.context() as monkeypatch, serving(monkeypatch) as served:
        yield served


@pytest.fixture(scope="module")
def trained(hub: FakeHub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lerobot-train with push_to_hub, from the command line to the last request."""
    output = tmp_path_factory.mktemp("hub") / "run"
    policy = [o for o in policy_options() if not o.startswith("--policy.push_to_hub")]
    train_here(
        *train_options(ONE_CAMERA, output, "--steps=1", "--batch_size=2", policy=policy),
        "--policy.push_to_hub=true",
        f"--policy.repo_id={REPO}",
        '--policy.tags=["lift"]',
    )
    return checkpoint(output, 1)


def test_the_saved_folder_is_complete(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == SAVED
    config = json.loads((trained / "config.json").read_text())
    assert config["type"] == "xwam"
    assert config["format_version"] == 1
    assert config["interface"] == "native"
    for name in ("preprocessor", "postprocessor"):
        steps = json.loads((trained / f"policy_{name}.json").read_text())["steps"]
        assert all("registry_name" in step for step in steps)  # found without importing classes by path
    assert set(load_file(trained / "model.safetensors")) == set(
        XWAMPolicy.from_pretrained(trained).state_dict()
    )


def test_everything_is_pushed(hub: FakeHub, trained: Path) -> None:
    pushed = hub.files[REPO]
    assert set(pushed) >= SAVED | {"README.md"}
    for name in ("config.json", "model.safetensors", "policy_preprocessor_step_4_xwam_pack.safetensors"):
        assert pushed[name] == (trained / name).read_bytes()
    card = pushed["README.md"].decode()
    assert card.startswith("---\n")
    for fact in ("license: apache-2.0", "- xwam", "- lift", "datasets: local/toy", "Steps 1, batch size 2"):
        assert fact in card, card
    assert f"--policy.path={REPO}" in card
    assert "2 episodes" in card


def test_a_policy_comes_back_from_its_hub_id(hub: FakeHub, trained: Path) -> None:
    """As lerobot-eval and lerobot-rollout do it."""
    hub.requests.clear()
    config = PreTrainedConfig.from_pretrained(REPO)
    config.pretrained_path = Path(REPO)
    policy = make_policy(config, ds_meta=metadata(ONE_CAMERA))
    local = XWAMPolicy.from_pretrained(trained)
    torch.testing.assert_close(policy.state_dict(), local.state_dict(), rtol=0, atol=0)
    pre, post = make_pre_post_processors(config, pretrained_path=str(config.pretrained_path))
    toy = make_toy(ONE_CAMERA)
    raw = toy.raw([4])
    batch = pre(raw)
    torch.testing.assert_close(batch["action"], toy.pre(raw)["action"])
    torch.testing.assert_close(post(batch["action"]), raw["action"], atol=1e-5, rtol=1e-5)
    assert any(request.startswith("GET") and "model.safetensors" in request for request in hub.requests)


def test_a_policy_can_be_pinned_to_a_revision(hub: FakeHub, trained: Path) -> None:
    commit = hub.commit_of(REPO)
    pinned = XWAMPolicy.from_pretrained(REPO, revision=commit)
    assert len(pinned.state_dict()) == len(load(hub.files[REPO]["model.safetensors"]))
    with pytest.raises(FileNotFoundError, match=REPO):
        XWAMPolicy.from_pretrained(REPO, revision="no-such-revision")


def test_base_weights_may_be_a_hub_id(hub: FakeHub, trained: Path) -> None:
    policy = XWAMPolicy(small_config(base_weights=REPO, base_revision=hub.commit_of(REPO)))
    weights = load_file(trained / "model.safetensors")
    torch.testing.assert_close(dict(policy.state_dict()), weights, rtol=0, atol=0)
    card = policy.generate_model_card("a/b", "xwam", None, None)
    assert card.data.base_model == REPO


def test_a_missing_repository_is_named(hub: FakeHub) -> None:
    for load_it in (
        lambda: XWAMPolicy.from_pretrained("somebody/nothing"),
        lambda: XWAMPolicy(small_config(base_weights="somebody/nothing")),
    ):
        with pytest.raises(OSError, match="somebody/nothing"):
            load_it()


def test_pipelines_can_be_pushed_alone(hub: FakeHub) -> None:
    config = small_config()
    pre, _ = make_pre_post_processors(config)
    pre.push_to_hub("somebody/pipeline")
    again: Any = PolicyProcessorPipeline.from_pretrained(
        "somebody/pipeline", config_filename="policy_preprocessor.json"
    )
    frames = random_frames(config)
    assert torch.equal(again(frames)["action"], pack(config, frames)["action"])
