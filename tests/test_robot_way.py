"""The whole way on a robot without hardware, by LeRobot's own commands, each in a process of its own:
record with RGB-D -> train -> rollout (sync and rtc; base, sentry, dagger) -> look at what was recorded.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import BIN, lerobot, run
from lerobot.datasets import LeRobotDataset
from terminal import converse

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, one after the other
PATIENCE = 400  # seconds for one of them, on a busy machine

TASK = "lift the red cube"
FPS = 10
ROBOT = ["--robot.type=xwam_mock", "--robot.id=mock", "--robot.height=64", "--robot.width=80"]
EXPERT = ["--teleop.type=xwam_mock_expert", "--teleop.episode_s=3", "--teleop.reset_s=0.5"]
JOINTS = ["base_angle.pos", "reach.pos", "height.pos", "wrist_angle.pos", "gripper.pos"]
POSE = [f"left_{name}.pos" for name in ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper")]


def dataset_options(root: Path, **more: Any) -> list[str]:
    settings = {
        "repo_id": f"local/{root.name}",
        "root": root,
        "single_task": TASK,
        "fps": FPS,
        "push_to_hub": "false",
        **more,
    }
    return [f"--dataset.{name}={value}" for name, value in settings.items()]


def record(root: Path, *more: str, episodes: int = 2) -> str:
    options = dataset_options(root, num_episodes=episodes, episode_time_s=3, reset_time_s=0.5)
    return lerobot("record", *ROBOT, *EXPERT, *options, "--play_sounds=false", *more, timeout=PATIENCE)


def train(dataset: Path, output: Path) -> str:
    return lerobot(
        "train",
        "--policy.type=xwam",
        "--policy.preset=tiny",
        "--policy.num_frames=5",
        "--policy.action_steps=2",
        "--policy.video_steps=2",
        "--policy.push_to_hub=false",
        "--policy.device=cpu",
        f"--dataset.repo_id=local/{dataset.name}",
        f"--dataset.root={dataset}",
        "--dataset.video_backend=pyav",
        f"--output_dir={output}",
        "--steps=2",
        "--batch_size=2",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--log_freq=1",
        "--wandb.enable=false",
        timeout=PATIENCE,
    )


def rollout_options(output: Path, *more: str) -> list[str]:
    return [
        f"--policy.path={output / 'checkpoints/last/pretrained_model'}",
        "--policy.n_action_steps=4",
        *ROBOT,
        f"--task={TASK}",
        "--device=cpu",
        f"--fps={FPS}",
        "--play_sounds=false",
        "--return_to_initial_position=false",
        *more,
    ]


def read(root: Path) -> LeRobotDataset:
    return LeRobotDataset(f"local/{root.name}", root=root, video_backend="pyav")


def numbers(root: Path, key: str) -> np.ndarray:
    """All rows of a vector.  # T A"""
    files = sorted((root / "data").rglob("*.parquet"))
    return np.concatenate([np.stack(pd.read_parquet(file)[key].to_list()) for file in files])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robot") / "recorded"
    record(root)
    return root


@pytest.fixture(scope="module")
def trained(recorded: Path) -> Path:
    output = recorded.parent / "trained"
    printed = train(recorded, output)
    assert len(re.findall(r"step:\d+ .*loss_actions:\d.*loss_depth:\d", printed)) == 2
    assert "X-WAM interface 'native'" in printed and "depth loss off" not in printed
    return output


def test_what_was_recorded_is_rgbd_of_a_moving_arm(recorded: Path) -> None:
    info = json.loads((recorded / "meta/info.json").read_text())
    features = info["features"]
    assert info["robot_type"] == "xwam_mock" and info["total_episodes"] == 2
    assert features["observation.state"]["names"] == features["action"]["names"] == JOINTS
    for camera in ("front", "wrist"):
        assert features[f"observation.images.{camera}"]["shape"] == [64, 80, 3]
        depth = features[f"observation.images.{camera}_depth"]
        assert depth["shape"] == [64, 80, 1] and depth["info"]["is_depth_map"]
    state, action = numbers(recorded, "observation.state"), numbers(recorded, "action")
    assert np.ptp(state[:, JOINTS.index("height.pos")]) > 0.05
    assert 0 < np.abs(action - state).max() < 0.5
    frame = read(recorded)[0]
    assert frame["task"] == TASK
    depth = frame[
        "observation.images.front_depth"
    ]  # millimetres: the camera is 0.8 m from the table's middle
    assert 300 < float(depth.min()) < 1000 < float(depth.max()) < 3000


def test_rollout_in_real_time_chunks(trained: Path) -> None:
    printed = lerobot(
        "rollout",
        *rollout_options(trained, "--strategy.type=base", "--duration=2"),
        "--inference.type=rtc",
        "--inference.queue_threshold=9",
        "--inference.rtc.execution_horizon=9",
        timeout=PATIENCE,
    )
    assert "RTC inference thread" in printed and "Rollout finished" in printed
    assert "Traceback (most recent call last):\n  File" not in printed.replace("libtorchcodec", "")


@pytest.fixture(scope="module")
def watched(trained: Path) -> Path:
    """What the sentry recorded of the policy."""
    root = trained.parent / "rollout_sentry"
    options = rollout_options(trained, "--strategy.type=sentry", "--duration=2")
    assert "Rollout finished" in lerobot("rollout", *options, *dataset_options(root), timeout=PATIENCE)
    return root


def test_sentry_records_what_the_policy_does(watched: Path) -> None:
    dataset = read(watched)
    assert dataset.num_episodes == 1 and dataset.num_frames >= 5
    assert np.isfinite(numbers(watched, "action")).all()
    assert float(dataset[0]["observation.images.wrist_depth"].max()) > 100


@pytest.mark.slow
def test_it_can_be_looked_at(watched: Path, tmp_path: Path) -> None:
    run(
        *(BIN / "lerobot-dataset-viz", "--repo-id=local/rollout_sentry", f"--root={watched}"),
        *("--episode-index=0", "--save=1", f"--output-dir={tmp_path / 'viz'}", "--num-workers=0"),
        timeout=PATIENCE,
    )
    (recording,) = (tmp_path / "viz").glob("*.rrd")
    assert recording.stat().st_size > 10_000


@pytest.mark.slow
def test_dagger_records_the_experts_correction(trained: Path, tmp_path: Path) -> None:
    """Space: the policy pauses. Tab: the expert takes over, where the arm stands. Tab: saved, the end."""
    root = tmp_path / "rollout_dagger"
    options = rollout_options(trained, "--strategy.type=dagger", "--duration=120", *EXPERT)
    printed = converse(
        [BIN / "lerobot-rollout", *options, *dataset_options(root, num_episodes=1)],
        keys=[
            ("recording started", 1.0, " "),
            ("autonomous -> paused", 0.3, "\t"),
            ("paused -> correcting", 3.0, "\t"),
        ],
        timeout=PATIENCE,
    )
    assert "Correction 1/1 saved" in printed and "Rollout finished" in printed
    dataset = read(root)
    assert dataset.num_episodes == 1 and dataset.num_frames >= 10
    assert numbers(root, "intervention").all()
    height = numbers(root, "action")[:, JOINTS.index("height.pos")]
    assert height.min() < 0.08  # it went down to the cube


@pytest.mark.slow
def test_the_way_with_poses(tmp_path: Path) -> None:
    """The end-effector variant: deltas of the measured pose, through the arm's inverse kinematics."""
    ee = ["--robot.interface=ee", "--teleop.interface=ee"]
    record(tmp_path / "recorded", *ee)
    features = json.loads((tmp_path / "recorded/meta/info.json").read_text())["features"]
    assert features["observation.state"]["names"] == POSE
    assert features["action"]["names"][0] == "left_dx.pos" and len(features["action"]["names"]) == 7
    assert "X-WAM interface 'ee'" in train(tmp_path / "recorded", tmp_path / "trained")
    for strategy, inference in (("base", "rtc"), ("base", "sync"), ("sentry", "sync")):
        options = rollout_options(tmp_path / "trained", f"--strategy.type={strategy}", "--duration=2")
        options += ["--robot.interface=ee", f"--inference.type={inference}"]
        options += ["--return_to_initial_position=true"]
        if strategy == "sentry":
            options += dataset_options(tmp_path / "rollout_sentry")
        printed = lerobot("rollout", *options, timeout=PATIENCE)
        assert "Rollout finished" in printed and "Could not return" not in printed
    assert read(tmp_path / "rollout_sentry").num_frames >= 5
