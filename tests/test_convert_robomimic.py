"""robomimic's and RoboCasa's HDF5, recorded here with robosuite -> LeRobotDataset by replaying the states."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import robomimic_dataset as recorded
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_xwam.cli.main import main
from lerobot_xwam.converting import replay
from lerobot_xwam.converting.episode import SourceEpisode
from lerobot_xwam.converting.settings import Settings
from lerobot_xwam.converting.sources import BadEpisodeError, open_source, read_episode

pytest.importorskip("robosuite")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[recorded.Live]]:
    path = tmp_path_factory.mktemp("robomimic") / "lift.hdf5"
    return path, recorded.record(path, demos=2)


def read(path: Path, demo: int = 0, **settings: Any) -> SourceEpisode:
    cameras = {"cameras": recorded.CAMERAS, "filters": ("failed",)}
    source = open_source(Settings(str(path), layout="robomimic", **{**cameras, **settings}))
    return read_episode(source, f"{path.name}/demo_{demo}")


@pytest.mark.slow
def test_the_replay_is_what_was_seen_live(cubes: tuple[Path, list[recorded.Live]]) -> None:
    path, lived = cubes
    episode, live = read(path), lived[0]
    np.testing.assert_allclose(np.abs(episode.states), np.abs(live.states), atol=1e-5)
    assert (episode.fps, episode.instructions, episode.size) == (20, ("lift the cube 0",), (48, 48))
    frames = list(episode.pictures())
    assert len(frames) == recorded.FRAMES
    for name in recorded.CAMERAS:
        depth = np.stack([frame[f"{name}_depth"][..., 0] for frame in frames])
        assert np.abs(depth - live.depth[name]).max() < 1e-4
        colour = np.stack([frame[name] for frame in frames]).astype(int)
        assert (np.abs(colour - live.colour[name]).max(axis=-1) > 2).mean() < 1e-3
        np.testing.assert_allclose(episode.cameras[name].pose, live.camera[name], atol=1e-6)
    assert np.ptp(live.depth["robot0_eye_in_hand"], axis=0).max() > 0.01  # the hand did move


def test_actions_are_the_controllers_with_the_gripper_turned_round(cubes: tuple[Path, Any]) -> None:
    with h5py.File(cubes[0]) as file:
        raw = file["data/demo_0/actions"][()]
    actions = read(cubes[0]).actions
    np.testing.assert_array_equal(actions[:, :6], raw[:, :6])
    np.testing.assert_array_equal(actions[:, 6], -raw[:, 6])
    with pytest.raises(ValueError, match="--actions path"):
        read(cubes[0], rate=10.0)
    assert len(read(cubes[0], rate=10.0, actions="path").actions) == 5


def test_what_comes_out(cubes: tuple[Path, list[recorded.Live]], tmp_path: Path) -> None:
    path, lived = cubes
    out = tmp_path / "out"
    command = ["convert-dataset", "--layout=robomimic", "--source", str(path), "--out", str(out)]
    assert main([*command, "--cameras", *recorded.CAMERAS, "--workers=1"]) == 0
    dataset = LeRobotDataset("local/cubes", root=out, video_backend="pyav")
    assert (dataset.num_episodes, dataset.fps) == (2, 20)
    item, live = dataset[recorded.FRAMES + 7], lived[1]
    assert item["task"] == "lift the cube 1"
    depth = item["observation.images.agentview_depth"][0].numpy() / 1000
    assert np.abs(depth / live.depth["agentview"][7] - 1).max() < 2e-3  # a step of 12 bits, logarithmic
    pose = item["observation.camera.robot0_eye_in_hand.extrinsics"].numpy()
    np.testing.assert_allclose(pose, live.camera["robot0_eye_in_hand"][7], atol=1e-5)
    about = json.loads((out / "meta" / "converted.json").read_text())
    assert about["filters"] == {"failed": {"episodes": 0, "unknown": 0}}


def test_a_renderer_elsewhere_does_not_spoil_the_replay(cubes: tuple[Path, list[recorded.Live]]) -> None:
    import gc

    path, lived = cubes
    pictures = read(path).pictures()
    first = next(pictures)
    other = next(read(path, 1).pictures())
    gc.collect()
    assert np.abs(first["agentview_depth"][..., 0] - lived[0].depth["agentview"][0]).max() < 1e-4
    second = next(pictures)["agentview_depth"][..., 0]
    assert np.abs(second - lived[0].depth["agentview"][1]).max() < 1e-4
    assert np.abs(other["agentview_depth"][..., 0] - lived[1].depth["agentview"][0]).max() < 1e-4


# --- Filters and bad episodes ---


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    def spoil(demo: Any) -> None:
        if value is None:
            del demo.attrs[name]
        else:
            demo.attrs[name] = value

    return spoil


def change(key: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def spoil(demo: Any) -> None:
        values = edit(demo[key][()])
        del demo[key]
        demo[key] = values

    return spoil


def with_nan(values: np.ndarray) -> np.ndarray:
    values[3, 2] = np.nan
    return values


def drives_off(values: np.ndarray) -> np.ndarray:
    values[:, 1] += np.linspace(0, 0.5, len(values))  # the base's first joint
    return values


BAD: dict[str, tuple[Callable[[Any], None], str, dict[str, Any]]] = {
    "no model": (attribute("model_file", None), "no attribute model_file", {}),
    "no XML": (attribute("model_file", "<mujoco"), "is no XML", {}),
    "no such mesh": (attribute("model_file", "<mujoco><worldbody><x/></worldbody></mujoco>"), "loaded", {}),
    "no instruction": (attribute("ep_meta", None), "has no instruction", {}),
    "no JSON": (attribute("ep_meta", "{"), "ep_meta is no JSON", {}),
    "NaN": (change("states", with_nan), "states: NaN or infinite value at frame 3", {}),
    "states of another model": (change("states", lambda v: v[:, :-2]), "numbers, its model has", {}),
    "fewer states": (change("states", lambda v: v[:-1]), "11 rows, the episode has 12", {}),
    "other actions": (change("actions", lambda v: v[:, :9]), "actions of 9 numbers", {}),
    "failed": (change("rewards", lambda v: v * 0), "was not done", {}),
    "locomotion": (change("states", drives_off), r"travels 0\.5\d m", {"filters": ("locomotion",)}),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_episodes_are_told(bad: str, cubes: tuple[Path, Any], tmp_path: Path) -> None:
    spoil, why, settings = BAD[bad]
    path = tmp_path / "lift.hdf5"
    shutil.copy(cubes[0], path)
    with h5py.File(path, "r+") as file:
        spoil(file["data/demo_0"])
    with pytest.raises(BadEpisodeError, match=why) as told:
        read(path, **settings)
    assert "demo_0" in str(told.value)
    read(path, demo=1)


def test_a_file_that_is_cut_off_is_named(cubes: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copy(cubes[0], tmp_path / "good.hdf5")
    (tmp_path / "bad.hdf5").write_bytes(cubes[0].read_bytes()[:5000])
    source = open_source(Settings(str(tmp_path), layout="robomimic"))
    assert source.names() == ["bad.hdf5/", "good.hdf5/demo_0", "good.hdf5/demo_1"]
    with pytest.raises(BadEpisodeError, match=r"bad\.hdf5: damaged or cut off"):
        source.read("bad.hdf5/")


def test_cameras_that_are_not_there_are_told(cubes: tuple[Path, Any]) -> None:
    with pytest.raises(BadEpisodeError, match=r"no camera robot0_agentview_left.*--cameras.*'agentview'"):
        read(cubes[0], cameras=())
    with pytest.raises(BadEpisodeError, match="robot0_agentview_left"):
        read(cubes[0], cameras=("agentview", "robot0_agentview_left"))


def test_meshes_of_a_simulator_that_is_not_installed_are_told() -> None:
    xml = '<mujoco><asset><mesh file="/a/robocasa/robocasa/models/x.obj"/></asset></mujoco>'
    with pytest.raises(ValueError, match="robocasa, which is not installed") as told:
        replay.relocated(xml, "demo")
    assert not isinstance(told.value, BadEpisodeError)
