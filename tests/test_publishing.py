"""What goes to the Hub names no folder of this machine; what stays here keeps them, to go on from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import checkpoint, policy_options, train_here, train_options
from fake_hub import FakeHub, serving
from toys import ONE_CAMERA, small_config

from lerobot_xwam.cli.main import main
from lerobot_xwam.modeling_xwam import XWAMPolicy
from lerobot_xwam.publishing import without_local_paths

REPO = "somebody/private"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with pytest.MonkeyPatch.context() as monkeypatch, serving(monkeypatch) as served:
        yield served


@pytest.mark.parametrize("adapter", [False, True])
def test_nothing_of_this_disk_is_pushed(hub: FakeHub, tmp_path: Path, adapter: bool) -> None:
    prompts, base, output = tmp_path / "prompts.safetensors", tmp_path / "xwam-init", tmp_path / "run"
    told = ["cache-text", "--codecs", "tiny", "--prompts", "lift the cube", "--out", str(prompts)]
    assert main(told) == 0
    XWAMPolicy(small_config()).save_pretrained(base)
    policy = policy_options(base_weights=base, text_cache=prompts)
    policy = [option for option in policy if not option.startswith("--policy.push_to_hub")]
    train_here(
        *train_options(ONE_CAMERA, output, "--steps=1", "--batch_size=2", policy=policy),
        "--policy.push_to_hub=true",
        f"--policy.repo_id={REPO}",
        *(["--peft.method_type=LORA", "--peft.r=4"] if adapter else []),
    )
    pushed = hub.files[REPO]
    for name, content in pushed.items():
        if name not in ("adapter_config.json",) and not name.endswith(".safetensors"):
            assert str(tmp_path).encode() not in content, name
    config = json.loads(pushed["config.json"])
    assert config["text_cache"] is None
    assert config["base_weights"] == "xwam-init"
    assert config["adapter_base_name"] == ("xwam-init" if adapter else "")
    training = json.loads(pushed["train_config.json"])
    assert training["dataset"]["root"] is training["output_dir"] is training["policy"]["text_cache"] is None
    assert "`xwam-init`" in pushed["README.md"].decode()

    kept = json.loads((checkpoint(output, 1) / "config.json").read_text())
    assert kept["text_cache"] == str(prompts)
    assert kept["base_weights"] == str(base)
    resume = [f"--config_path={checkpoint(output, 1) / 'train_config.json'}", "--resume=true", "--steps=2"]
    assert len(train_here(*resume, "--policy.push_to_hub=false")) == 1


def test_a_policy_that_is_pushed_by_itself(hub: FakeHub, tmp_path: Path) -> None:
    policy = XWAMPolicy(small_config(latent_cache=str(tmp_path)))
    policy.push_to_hub("somebody/alone")
    assert json.loads(hub.files["somebody/alone"]["config.json"])["latent_cache"] is None
    assert policy.config.latent_cache == str(tmp_path)


def test_hub_names_stay_and_local_codecs_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = small_config()
    config.base_weights, config.codecs = "somebody/xwam", str(tmp_path)
    with caplog.at_level(logging.WARNING), without_local_paths(config):
        assert (config.base_weights, config.codecs) == ("somebody/xwam", str(tmp_path))
    assert f"codecs that only this machine has: {tmp_path}" in caplog.text
    with pytest.raises(RuntimeError), without_local_paths(config):
        raise RuntimeError
    assert config.codecs == str(tmp_path)
