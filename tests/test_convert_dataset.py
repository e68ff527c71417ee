"""`lerobot-xwam convert-dataset`: what comes out, what is dropped and why, and stopping in the middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from authors_dataset import drawn, episode, write_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_xwam.cli.main import main
from lerobot_xwam.converting import convert as conversion
from lerobot_xwam.converting import shards
from lerobot_xwam.data.authors_layout.clips import universal_actions
from lerobot_xwam.data.authors_layout.episode import parse_episode
from lerobot_xwam.data.statistics import InterfaceStatistics

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cups")
    write_dataset(root, 3)
    return root


def run(source: Path, out: Path, *more: str, workers: int = 1) -> int:
    return main(
        ["convert-dataset", "--source", str(source), "--out", str(out), f"--workers={workers}", *more]
    )


def opened(out: Path) -> LeRobotDataset:
    return LeRobotDataset("local/cups", root=out, video_backend="pyav")


def about(out: Path) -> dict[str, Any]:
    return json.loads((out / "meta" / "converted.json").read_text())


def test_what_comes_out(cups: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert run(cups, out, "--shard=2") == 0
    printed = capsys.readouterr().out
    assert "3 episodes, 123 frames in" in printed and "read back" in printed
    assert "pictures 32x48 at 20 fps -> 32x48 at 20 fps: 123 -> 123 frames" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    dataset = opened(out)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, 123, 20)
    assert dataset.meta.features["observation.images.left_camera_depth"]["info"]["is_depth_map"]
    assert dataset.meta.features["observation.state"]["names"][3] == "left_qw"

    source = parse_episode(episode("dual", 1), "one")
    begin, expected = 41, universal_actions(source)
    for step in (0, 20, 39):
        item = dataset[begin + step]
        np.testing.assert_allclose(item["action"], expected[step], atol=1e-6)
        np.testing.assert_allclose(np.abs(item["observation.state"]), np.abs(source.states[step]), atol=1e-6)
        assert item["task"] in source.instructions
        colour = item["observation.images.left_camera"].permute(1, 2, 0).numpy() * 255
        assert np.abs(colour - drawn(46, 3, False)[3 + step]).mean() < 3  # the view begins at frame 3
        share = drawn(46, 3, True)[3 + step, ..., 0] / 255
        metres = 1 / (0.1 + share * 9.9)
        depth = item["observation.images.left_camera_depth"][0].numpy() / 1000
        assert np.abs(depth / metres - 1).max() < 0.05  # an 8-bit video in between moves a code by one or two
    states = np.stack([dataset[i]["observation.state"] for i in range(41, 82)])
    assert (np.sum(states[1:, 3:7] * states[:-1, 3:7], axis=1) > 0).all()  # no sign flips


def test_statistics_are_those_of_all_frames(cups: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(cups, out, "--shard=1", "--verify=0") == 0
    dataset, statistics = opened(out), InterfaceStatistics(2)
    columns = dataset.hf_dataset.with_format("numpy")
    statistics.add_actions(np.stack(columns["observation.state"]), np.stack(columns["action"]))
    for key, part in (("observation.state", "state"), ("action", "action")):
        for quantile, values in statistics.vectors()[part].items():
            np.testing.assert_allclose(dataset.meta.stats[key][quantile], values, rtol=1e-6)
    reach = dataset.meta.stats["action"]
    np.testing.assert_array_equal(reach["q01"], -reach["q99"])


def test_raw_actions_of_one_arm(tmp_path: Path) -> None:
    write_dataset(tmp_path / "source", 1, kind="raw")
    assert run(tmp_path / "source", tmp_path / "out", "--depth=none") == 0
    dataset, source = opened(tmp_path / "out"), parse_episode(episode("raw", 0), "one")
    assert not any(key.endswith("_depth") for key in dataset.features)
    assert source.raw_actions is not None
    np.testing.assert_allclose(dataset[35]["action"][:6], source.raw_actions[35, :6], atol=1e-6)
    assert dataset[35]["action"][6] == -source.raw_actions[35, 6]
    assert dataset.meta.stats["action"]["q99"][6] == 1


def test_fewer_frames_with_longer_actions_and_smaller_pictures(cups: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(cups, out, "--action-skip=2", "--size", "16", "24", "--limit=1") == 0
    dataset, source = opened(out), parse_episode(episode("dual", 0), "one")
    assert (dataset.num_frames, dataset.fps) == (20, 10)
    counted = {"episodes": 1, "source_frames": 41, "frames": 20}
    assert about(out)["resampling"] == {"32x48 at 20 fps -> 16x24 at 10 fps": counted}
    assert dataset[0]["observation.images.head_camera"].shape == (3, 16, 24)
    np.testing.assert_allclose(dataset[5]["action"], universal_actions(source, 2)[10], atol=1e-6)


# --- Stopping ---


def files_of(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_a_run_that_fails_goes_on_where_it_was(
    cups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, begun = shards._write, []

    def breaks_down(*arguments: Any) -> Any:
        begun.append(arguments[1])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setattr(shards, "_write", breaks_down)
    assert run(cups, tmp_path / "out", "--shard=1") == 130
    assert not (tmp_path / "out").exists() and (tmp_path / "out.partial").is_dir()
    assert run(cups, tmp_path / "out", "--shard=1") == 0
    assert [names[0] for names in begun] == [f"episodes/000{i}.json" for i in (0, 1, 1, 2)]
    monkeypatch.undo()
    assert run(cups, tmp_path / "whole", "--shard=1") == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_other_settings_do_not_go_on(cups: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def stops(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(shards, "_write", stops)
    assert run(cups, tmp_path / "out") == 130
    assert run(cups, tmp_path / "out", "--inverse-gripper") == 1
    assert "inverse_gripper: False -> True" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    assert run(cups, tmp_path / "there") == 1
    assert "exists already" in capsys.readouterr().err


def test_a_disk_too_small_is_told_first(cups: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(conversion, "BYTES_PER_PIXEL", 1e12)
    assert run(cups, tmp_path / "out") == 1
    assert "GB are needed" in capsys.readouterr().err


# --- Episodes that cannot be used; tests/test_convert_bad_input.py has more ---

VICTIM = "episodes/0001.json"


@pytest.mark.slow
def test_a_video_that_breaks_off_while_it_is_written(
    cups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index promises frames that cannot be decoded: the others of its shard are written all the same."""
    from lerobot_xwam.converting import authors
    from lerobot_xwam.data.authors_layout.episode import BadEpisodeError

    right = authors.read_frames

    def breaks(path: Path, wanted: range) -> Any:
        for i, frame in enumerate(right(path, wanted)):
            if i == 10 and path.name == "0000001.mp4":
                raise BadEpisodeError(f"{path}: damaged after frame 10")
            yield frame

    monkeypatch.setattr(authors, "read_frames", breaks)
    assert run(cups, tmp_path / "out") == 0
    assert about(tmp_path / "out")["dropped"].keys() == {VICTIM}
    assert opened(tmp_path / "out").num_frames == 82


def test_nothing_usable_is_told(tmp_path: Path, capsys) -> None:
    write_dataset(tmp_path / "source", 2, videos=False)
    assert run(tmp_path / "source", tmp_path / "out") == 1
    assert "none of 2 episodes can be used" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out") == 1
    assert "no episodes" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", tmp_path / "out") == 1
