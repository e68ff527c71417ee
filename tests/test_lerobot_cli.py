"""LeRobot's own commands with this policy, each in a process of its own, as a user calls them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from commands import checkpoint, eval_here, lerobot, policy_options, train_here, train_options
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_policy
from safetensors.torch import load_file
from toys import ONE_CAMERA, THREE_CAMERAS, World, make_toy

from lerobot_xwam.envs import TabletopEnvConfig
from lerobot_xwam.modeling_xwam import XWAMPolicy


def env_options(world: World, steps: int = 6) -> list[str]:
    return [
        "--env.type=xwam_tabletop",
        f"--env.interface={world.interface}",
        f"--env.cameras={','.join(world.cameras)}",
        f"--env.observation_height={world.size[0]}",
        f"--env.observation_width={world.size[1]}",
        f"--env.depth={str(world.depth).lower()}",
        f"--env.episode_length={steps}",
        "--eval.n_episodes=1",
        "--eval.batch_size=1",
    ]


def frames(video: Path) -> tuple[int, int, int]:
    """-> (frames, height, width)"""
    with av.open(str(video)) as container:
        pictures = list(container.decode(video=0))
    return len(pictures), pictures[0].height, pictures[0].width


@pytest.fixture(scope="module")
def one_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the command: joints, one camera, no depth."""
    output = tmp_path_factory.mktemp("cli") / "one"
    printed = lerobot(
        "train", *train_options(ONE_CAMERA, output, "--steps=3", "--save_freq=2", "--batch_size=2")
    )
    assert len(re.findall(r"step:\d+ .*loss:\d.*loss_actions:", printed)) == 3
    assert not re.search(r"loss_depth:\d", printed)
    assert printed.count("training with the depth loss off") == 1
    assert "X-WAM interface 'native'" in printed
    return output


@pytest.fixture(scope="module")
def three_cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the command: end-effector interface, three cameras with depth."""
    output = tmp_path_factory.mktemp("cli") / "three"
    printed = lerobot("train", *train_options(THREE_CAMERAS, output, "--steps=2", "--batch_size=2"))
    assert len(re.findall(r"step:\d+ .*loss_depth:\d", printed)) == 2
    assert "depth loss off" not in printed
    assert "X-WAM interface 'ee'" in printed
    return output


@pytest.mark.slow
def test_train_then_eval_one_camera(one_camera: Path, tmp_path: Path) -> None:
    assert sorted(path.name for path in (one_camera / "checkpoints").iterdir()) == [
        "000002",
        "000003",
        "last",
    ]
    lerobot(
        "eval",
        f"--policy.path={checkpoint(one_camera, 3)}",
        "--policy.n_action_steps=4",
        f"--output_dir={tmp_path}",
        *env_options(ONE_CAMERA),
    )
    info = json.loads((tmp_path / "eval_info.json").read_text())
    assert len(info["per_task"]) == 1
    assert info["overall"]["n_episodes"] == 1
    (video,) = (tmp_path / "videos").rglob("eval_episode_0.mp4")
    assert frames(video)[0] == 6


def test_train_then_eval_three_cameras_with_depth(three_cameras: Path, tmp_path: Path) -> None:
    """The simulator has depth; the imagined RGB-D video is written beside the seen one."""
    lerobot(
        "eval",
        f"--policy.path={checkpoint(three_cameras, 2)}",
        "--policy.n_action_steps=4",
        "--policy.save_predicted_video=true",
        f"--output_dir={tmp_path}",
        *env_options(THREE_CAMERAS),
    )
    info = json.loads((tmp_path / "eval_info.json").read_text())
    (predicted,) = info["overall"]["predicted_video_paths"]
    assert frames(Path(predicted)) == (10, 64, 144)  # two chunks of 5 frames; 3 cameras wide, RGB above depth


def test_resume(one_camera: Path, tmp_path: Path) -> None:
    """From step 2 the resumed run does step 3 like the first one."""
    train_here(
        f"--config_path={checkpoint(one_camera, 2) / 'train_config.json'}",
        "--resume=true",
        f"--output_dir={tmp_path / 'resumed'}",
    )
    runs = (one_camera, tmp_path / "resumed")
    first, second = (XWAMPolicy.from_pretrained(checkpoint(run, 3)).state_dict() for run in runs)
    assert all(first[name].equal(second[name]) for name in first)


def test_evaluating_in_between_changes_no_training(tmp_path: Path) -> None:
    """Rollouts in the simulator use up none of the training's noise."""
    common = ["--steps=3", "--batch_size=2", "--save_checkpoint=false", "--policy.n_action_steps=4"]
    plain = train_here(*train_options(ONE_CAMERA, tmp_path / "plain", *common))
    simulator = [*env_options(ONE_CAMERA), "--env_eval_freq=2"]
    watched = train_here(*train_options(ONE_CAMERA, tmp_path / "watched", *common), *simulator)
    assert watched == plain
    (video,) = (tmp_path / "watched" / "eval").rglob("*.mp4")
    assert frames(video)[0] == 6


# --- adapters ---

LORA = ["--peft.method_type=LORA", "--peft.r=4"]
FAST = ["--policy.optimizer_lr=0.01", "--policy.scheduler_warmup_steps=0"]


def train_adapter(start: str, output: Path, world: World, *more: str) -> list[float]:
    return train_here(
        *train_options(world, output, "--steps=3", "--save_freq=2", "--batch_size=2", *more, policy=[start]),
        "--policy.push_to_hub=false",
        *FAST,
        *LORA,
    )


def resume(output: Path, resumed: Path) -> list[float]:
    config = checkpoint(output, 2) / "train_config.json"
    return train_here(f"--config_path={config}", "--resume=true", f"--output_dir={resumed}")


def test_adapter_train_save_resume_and_eval(one_camera: Path, tmp_path: Path) -> None:
    base, output = checkpoint(one_camera, 3), tmp_path / "lora"
    losses = train_adapter(f"--policy.path={base}", output, ONE_CAMERA)
    assert resume(output, tmp_path / "resumed") == losses[2:]  # so what was saved is what was trained
    adapter = load_file(checkpoint(output, 3) / "adapter_model.safetensors")
    assert any(".lora_A." in name for name in adapter)
    assert any("action_out" in name for name in adapter)
    assert sum(tensor.numel() for tensor in adapter.values()) < 0.3 * sum(
        tensor.numel() for tensor in load_file(base / "model.safetensors").values()
    )
    assert not (checkpoint(output, 3) / "model.safetensors").exists()

    plain, adapted = policy_for(base), policy_for(checkpoint(output, 3))
    toy = make_toy(ONE_CAMERA)
    losses = [policy.eval()(toy.batch([0, 20, 40]))[0].item() for policy in (plain, adapted)]
    assert losses[0] != losses[1]

    eval_here(
        f"--policy.path={checkpoint(output, 3)}",
        "--policy.n_action_steps=4",
        "--policy.save_predicted_video=true",
        f"--output_dir={tmp_path / 'eval'}",
        *env_options(ONE_CAMERA),
        "--eval.n_episodes=4",
        "--eval.batch_size=2",
        "--eval.use_async_envs=false",
    )
    info = json.loads((tmp_path / "eval" / "eval_info.json").read_text())
    assert len(info["overall"]["video_paths"]) == 4
    predicted = info["overall"]["predicted_video_paths"]
    assert [frames(Path(film)) for film in predicted] == 2 * [(10, 32, 48)]  # of each batch, all chunks


@pytest.mark.slow
def test_adapter_on_base_weights_for_another_robot(one_camera: Path, tmp_path: Path) -> None:
    """The usual case: somebody's weights, a robot of other width, and only an adapter to train and keep."""
    base, output = checkpoint(one_camera, 3), tmp_path / "lora"
    widths = ["--policy.action_width=20", "--policy.max_views=3"]
    settings = [option for option in policy_options() if not option.startswith("--policy.type")]
    start = [*settings, *widths, f"--policy.base_weights={base}"]
    losses = train_adapter("--policy.type=xwam", output, THREE_CAMERAS, *start)
    assert resume(output, tmp_path / "resumed") == losses[2:]
    adapted = policy_for(checkpoint(output, 3))
    assert adapted.config.action_width == 20
    assert all(np.isfinite(parameter.detach()).all() for parameter in adapted.parameters())
    with pytest.raises(ValueError, match=r"net\.action_in\.0\.weight.*full_training_modules"):
        train_adapter(
            "--policy.type=xwam",
            tmp_path / "refused",
            THREE_CAMERAS,
            *start,
            "--peft.full_training_modules=[state_in]",
        )


def policy_for(path: Path) -> Any:
    config = PreTrainedConfig.from_pretrained(path)
    config.pretrained_path = path
    return make_policy(config, env_cfg=TabletopEnvConfig(interface=config.interface))


def test_help_lists_the_policys_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_here("--policy.type=xwam", "--help")
    printed = capsys.readouterr().out
    for option in ("preset", "base_weights", "noise_law", "depth_unit", "action_steps", "default_task"):
        assert f"--policy.{option}" in printed, option
