"""RoboTwin's path from a file to an evaluation, on a recorded fake of its interface: convert, train, act.

The fake shows a synthetic recording (scripts/synthetic_robotwin.py); nothing is simulated. What is proven is
that poses, deltas, grippers and pictures mean the same on the way in and on the way out.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import checkpoint, eval_here, policy_options, train_here
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from recorded_robotwin import install
from synthetic_robotwin import Synthetic

from lerobot_xwam.benchmarks.robotwin import CAMERAS
from lerobot_xwam.cli.main import main
from lerobot_xwam.envs.robotwin.config import RoboTwinEnvConfig

pytestmark = pytest.mark.filterwarnings("ignore")
FRAMES, HEIGHT, WIDTH = 40, 48, 64


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """-> the file, and what it was converted to at its own rate, which is taken for 15 Hz"""
    folder = tmp_path_factory.mktemp("robotwin")
    file = Synthetic(FRAMES, HEIGHT, WIDTH).write_episode(folder / "lift_pot" / "clean", 0)
    out = folder / "out"
    source = ["--layout=robotwin", f"--source={folder / 'lift_pot'}", "--fps=15", "--workers=1", "--verify=1"]
    assert main(["convert-dataset", *source, f"--out={out}"]) == 0
    return file, out


def environment(chunk: int):
    config = RoboTwinEnvConfig(
        task="lift_pot",
        actions_per_chunk=chunk,
        observation_height=HEIGHT,
        observation_width=WIDTH,
        camera_names=",".join(CAMERAS),
    )
    return config.create_envs(1)["lift_pot"][0].envs[0].unwrapped


@pytest.mark.parametrize("chunk", [1, 8])
def test_recorded_actions_ask_for_the_recorded_poses(
    chunk: int, recorded: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dataset's actions, sent through the environment, are the poses that were recorded next."""
    file, out = recorded
    fake = install(monkeypatch, file)
    dataset = LeRobotDataset("local/pots", root=out, video_backend="pyav")
    env = environment(chunk)
    seen, _ = env.reset(seed=0)
    for frame in range(dataset.num_frames):
        item = dataset[frame]
        state, shown = item["observation.state"].numpy(), seen["agent_pos"]
        np.testing.assert_allclose(np.abs(state), np.abs(shown), atol=1e-5)
        for name in CAMERAS:
            stored = item[f"observation.images.{name}"].permute(1, 2, 0).numpy() * 255
            assert np.abs(stored - seen["pixels"][name]).mean() < 6, name
        seen, *_ = env.step(item["action"].numpy())
    asked = np.stack(fake.taken)
    with h5py.File(file) as held:
        for at, side in ((0, "left"), (8, "right")):
            pose = held[f"endpose/{side}_endpose"][1:]
            np.testing.assert_allclose(asked[:, at : at + 3], pose[:, :3], atol=1e-5)
            alike = np.abs(np.sum(asked[:, at + 3 : at + 7] * pose[:, 3:], axis=1))
            np.testing.assert_allclose(alike, 1, atol=1e-6)
            np.testing.assert_allclose(asked[:, at + 7], held[f"endpose/{side}_gripper"][1:], atol=1e-5)


@pytest.mark.slow
def test_train_a_little_and_evaluate(
    recorded: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = recorded
    losses = train_here(
        *policy_options(max_views=3),
        "--dataset.repo_id=local/pots",
        f"--dataset.root={out}",
        "--dataset.video_backend=pyav",
        f"--output_dir={tmp_path / 'train'}",
        "--steps=2",
        "--batch_size=2",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--log_freq=1",
    )
    assert np.isfinite(losses).all()
    fake = install(monkeypatch, file)
    eval_here(
        f"--policy.path={checkpoint(tmp_path / 'train', 2)}",
        "--policy.n_action_steps=4",
        "--env.type=xwam_robotwin",
        "--env.task=lift_pot",
        "--env.actions_per_chunk=4",
        "--env.episode_length=6",
        f"--env.camera_names={','.join(CAMERAS)}",
        f"--env.observation_height={HEIGHT}",
        f"--env.observation_width={WIDTH}",
        "--eval.n_episodes=1",
        "--eval.batch_size=1",
        f"--output_dir={tmp_path / 'eval'}",
    )
    assert json.loads((tmp_path / "eval/eval_info.json").read_text())["overall"]["n_episodes"] == 1
    assert len(fake.taken) == 6 and list((tmp_path / "eval/videos").rglob("*.mp4"))
