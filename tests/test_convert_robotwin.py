"""RoboTwin 2.0's HDF5 (synthetic) -> LeRobotDataset."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from synthetic_robotwin import Synthetic, camera_to_world

from lerobot_xwam.benchmarks.robotwin import CAMERAS, FROM_ROBOTWIN, endposes_from_state
from lerobot_xwam.cli.main import main
from lerobot_xwam.converting import convert, merging, robotwin
from lerobot_xwam.converting.episode import SourceEpisode
from lerobot_xwam.converting.settings import Settings
from lerobot_xwam.converting.sources import BadEpisodeError, open_source, read_episode
from lerobot_xwam.space.poses import integrate
from lerobot_xwam.space.resampling import states_at

pytestmark = pytest.mark.filterwarnings("ignore")
SYNTHETIC = Synthetic()
NAME = "lift_pot/demo_clean/data/episode{}.hdf5"


@pytest.fixture(scope="module")
def pots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robotwin")
    for index in (2, 10):
        SYNTHETIC.write_episode(root / "lift_pot" / "demo_clean", index)
    return root


def read(root: Path, index: int = 2, **settings: Any) -> SourceEpisode:
    source = open_source(Settings(str(root), layout="robotwin", **{"rate": 15.0, **settings}))
    return read_episode(source, NAME.format(index))


@pytest.fixture(scope="module")
def converted(pots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "out"
    command = ["convert-dataset", "--layout=robotwin", "--source", str(pots), "--out", str(out)]
    assert main([*command, "--rate=15", "--size", "24", "40", "--workers=1"]) == 0
    return out


def test_what_comes_out(pots: Path, converted: Path) -> None:
    out = converted
    dataset = LeRobotDataset("local/pots", root=out, video_backend="pyav")
    about = json.loads((out / "meta" / "converted.json").read_text())
    assert [one["name"] for one in about["episodes"]] == [NAME.format(2), NAME.format(10)]
    assert about["episodes"][0]["wordings"] == ["lift pot 2", "take the pot", "the pot goes up"]
    assert about["episodes"][0]["source_frames"] == SYNTHETIC.frames
    assert (dataset.fps, dataset.num_episodes) == (15, 2)
    assert "observation.images.front_camera" not in dataset.features  # the benchmark has three

    rate = 250 / 15
    expected = states_at(np.arange(26) / 15, read(pots, rate=0, fps=15.0).states[:30], np.arange(29) / rate)
    for step in (0, 12, 25):
        item, source_frame = dataset[step], round(step / 15 * rate)
        state = item["observation.state"].numpy()
        np.testing.assert_allclose(np.abs(state), np.abs(expected[step]), atol=1e-5)
        colour = item["observation.images.head_camera"].permute(1, 2, 0).numpy() * 255
        drawn = SYNTHETIC.colours(source_frame, 0)
        for channel in range(3):
            assert abs(colour[:, 10, channel].mean() - drawn[:, 8, channel].mean()) < 8
        depth = item["observation.images.left_camera_depth"][0].numpy() / 1000
        true = SYNTHETIC.metres(source_frame, 1)
        assert np.abs(depth[6:, 5] / true[6:, 4] - 1).max() < 0.005  # 40 columns of 32: column 5 shows 4
        assert depth[0, 0] <= 0.011  # no reading: LeRobot's nearest
    intrinsics = dataset[3]["observation.camera.left_camera.intrinsics"].numpy()
    np.testing.assert_allclose(intrinsics, np.diag([40 / 32, 1, 1]) @ SYNTHETIC.intrinsics, atol=1e-5)
    pose = dataset[15]["observation.camera.left_camera.extrinsics"].numpy()
    world = np.eye(4)
    world[:3, :3] = FROM_ROBOTWIN.world
    np.testing.assert_allclose(pose, world @ camera_to_world(round(rate), 1), atol=1e-5)


def test_states_go_back_to_the_endposes_and_actions_lead_on(pots: Path) -> None:
    episode = read(pots, rate=0, fps=15.0)
    assert len(episode.states) == SYNTHETIC.frames - 1  # nothing follows the last one
    back = endposes_from_state(episode.states)
    for side in (0, 1):
        pose = SYNTHETIC.poses(side)[:-1]
        pose[:, 0] += 0.002
        np.testing.assert_allclose(back[:, 8 * side : 8 * side + 3], pose[:, :3], atol=1e-9)
        alike = np.abs(np.sum(back[:, 8 * side + 3 : 8 * side + 7] * pose[:, 3:], axis=1))
        np.testing.assert_allclose(alike, 1, atol=1e-9)
    after = integrate(episode.states[:-1], episode.actions[:-1])
    np.testing.assert_allclose(np.abs(after), np.abs(episode.states[1:]), atol=1e-9)


def test_what_comes_out_goes_in_again(pots: Path, converted: Path) -> None:
    """The converted dataset, read as a foreign one: the same numbers, depth within its 12 bits."""

    def arm(at: int) -> dict[str, Any]:
        def part(*places: int, **more: Any) -> dict[str, Any]:
            return {"column": "observation.state", "take": [at + place for place in places], **more}

        rotation = part(3, 4, 5, 6, **{"as": "quaternion_wxyz"})
        moves = {"column": "action", "take": [at // 8 * 7 + i for i in range(3)]}
        turns = {"column": "action", "take": [at // 8 * 7 + i for i in range(3, 6)], "as": "axis_angle"}
        return {
            "state": {"position": part(0, 1, 2), "rotation": rotation},
            "gripper": part(7, closed=0, open=1),
            "delta": {"position": moves, "rotation": turns},
        }

    def camera(name: str) -> dict[str, str]:
        picture, matrices = f"observation.images.{name}", f"observation.camera.{name}"
        places = {"intrinsics": f"{matrices}.intrinsics", "pose": f"{matrices}.extrinsics"}
        return {"column": picture, "depth": f"{picture}_depth", **places}

    mapping = {"arms": {"left": arm(0), "right": arm(8)}, "cameras": {name: camera(name) for name in CAMERAS}}
    source = open_source(Settings(str(converted), layout="lerobot", mapping=mapping))
    assert source.names() == ["episode_0", "episode_1"]
    assert source.seconds("episode_1") == pytest.approx(26 / 15, abs=0.1)
    again, before = read_episode(source, "episode_0"), read(pots, height=24, width=40)
    np.testing.assert_allclose(again.states, before.states, atol=1e-5)
    moved = np.delete(again.actions - before.actions, [6, 13], axis=1)  # the last gripper cannot be measured
    assert np.abs(moved).max() < 1e-5
    assert (again.size, again.fps) == ((24, 40), 15)
    assert set(again.instructions) <= set(before.instructions)
    for name in CAMERAS:
        np.testing.assert_allclose(again.cameras[name].pose, before.cameras[name].pose, atol=1e-5)
        np.testing.assert_allclose(again.cameras[name].intrinsics, before.cameras[name].intrinsics, atol=1e-4)
    for one, other in zip(again.pictures(), before.pictures(), strict=True):
        for name in CAMERAS:
            wanted = other[f"{name}_depth"].clip(0.01, 10)
            assert np.abs(one[f"{name}_depth"] / wanted - 1).max() < 2e-3
            assert np.abs(one[name].astype(int) - other[name]).mean() < 3


@pytest.mark.slow
def test_stopped_anywhere_it_ends_in_the_same_files(
    pots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an episode is written, after the shards were merged, while the result is read back."""

    def run(out: str) -> int:
        command = [
            "convert-dataset",
            "--layout=robotwin",
            "--source",
            str(pots),
            "--out",
            str(tmp_path / out),
        ]
        return main([*command, "--rate=15", "--workers=1", "--shard=1", "--verify=1"])

    def files_of(out: str) -> dict[str, bytes]:
        root = tmp_path / out
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    def stops(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    decode = robotwin.decode
    for place, name, stop in (
        (robotwin, "decode", lambda jpeg, where: stops() if "frame 11" in where else decode(jpeg, where)),
        (merging, "write_statistics", stops),
        (convert, "verify", stops),
        (convert.shutil, "rmtree", stops),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, stop)
            assert run("out") == 130
        assert not (tmp_path / "out").exists()
    assert run("out") == 0
    assert run("whole") == 0
    assert files_of("out") == files_of("whole")
    assert not list(tmp_path.glob("*.partial"))


def test_a_rate_that_is_no_whole_number_is_told(pots: Path) -> None:
    with pytest.raises(ValueError, match=r"16\.67 frames/s.*--rate 16"):
        read(pots, rate=0)


def test_without_h5py_it_is_said_what_to_install(pots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"lerobot_policy_xwam\[convert\]"):
        open_source(Settings(str(pots), layout="robotwin")).names()


# --- Bad episodes ---


def change(key: str, edit: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            values = edit(np.array(file[key]))
            del file[key]
            if values is not None:
                file[key] = values

    return spoil


def with_nan(values: np.ndarray) -> np.ndarray:
    values[4, 1] = np.nan
    return values


def mirrored(values: np.ndarray) -> np.ndarray:
    values[:, 0] *= -1
    return values


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_jpeg(values: np.ndarray) -> np.ndarray:
    values[0] = b"no picture"
    return values


HEAD = "observation/head_camera/"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (cut_off, "damaged or cut off"),
    "no HDF5": (lambda path: path.write_bytes(b"nothing"), "damaged or cut off"),
    "NaN": (change("endpose/left_endpose", with_nan), "left_endpose: NaN or infinite value at frame 4"),
    "no unit quaternions": (change("endpose/right_endpose", lambda v: v * 2), "not of length 1"),
    "no poses": (change("endpose/right_endpose", lambda v: None), "no endpose/right_endpose"),
    "left-handed camera": (change(HEAD + "extrinsic_cv", mirrored), "apart"),
    "fewer pictures": (change(HEAD + "rgb", lambda v: v[:20]), "rgb: 20 frames, the episode has 30"),
    "fewer depths": (change(HEAD + "depth", lambda v: v[:20]), "depth: 20 frames"),
    "depth of another size": (change(HEAD + "depth", lambda v: v[:, :5]), "depth of"),
    "no depth": (change(HEAD + "depth", lambda v: None), "no depth of head_camera"),
    "no JPEG": (change(HEAD + "rgb", no_jpeg), "no picture"),
    "no instructions": (
        lambda path: (path.parent.parent / "instructions" / "episode2.json").unlink(),
        "has no instruction",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_episodes_are_told(bad: str, tmp_path: Path) -> None:
    path = SYNTHETIC.write_episode(tmp_path / "lift_pot" / "demo_clean", 2)
    BAD[bad][0](path)
    with pytest.raises(BadEpisodeError, match=BAD[bad][1]) as told:
        read(tmp_path)
    assert "episode2" in str(told.value)
