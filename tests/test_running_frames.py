"""Reading a dataset's windows in order decodes each frame once, and gives what LeRobot gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch import Tensor

from lerobot_xwam.caching.running_frames import RunningFrames, remember_frames
from lerobot_xwam.envs.tabletop.dataset import write_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames") / "dataset"
    return write_dataset(folder, episodes=2, cameras=["front"], size=(32, 48), progress=False)


def opened(root: Path) -> LeRobotDataset:
    seconds = [4 * i / 15 for i in range(5)]
    keys = ["observation.images.front", "observation.images.front_depth"]
    return LeRobotDataset(
        "local/dataset",
        root=root,
        delta_timestamps=dict.fromkeys(keys, seconds),
        video_backend="pyav",
        return_uint8=True,
    )


@pytest.mark.parametrize("most", [17, 25, 1000])
def test_same_frames_as_lerobot(root: Path, most: int) -> None:
    plain, quick = opened(root), opened(root)
    remember_frames(quick)
    quick.reader._query_videos._most = most
    ends = [int(end) for end in plain.meta.episodes["dataset_to_index"]]
    for index in [0, 1, 30, ends[0] - 2, ends[0] - 1, ends[0], ends[0] + 5, ends[1] - 1, 3]:
        theirs, ours = plain[index], quick[index]
        assert theirs.keys() == ours.keys()
        for key, value in theirs.items():
            same = torch.equal(value, ours[key]) if isinstance(value, Tensor) else value == ours[key]
            assert same, f"frame {index}, {key}"


def test_each_frame_is_decoded_once() -> None:
    asked: list[Any] = []

    def query(timestamps: dict[str, list[float]], episode: int) -> dict[str, Tensor]:
        asked.append((episode, {key: len(seconds) for key, seconds in timestamps.items()}))
        return {key: torch.tensor(seconds) for key, seconds in timestamps.items()}

    frames = RunningFrames(query, fps=10, lengths=[50, 40], most_frames=60)
    for episode, length in enumerate((50, 40)):
        for start in range(length):
            window = [min(start + 4 * i, length - 1) / 10 for i in range(5)]
            assert frames({"a": window, "b": window}, episode)["b"].tolist() == pytest.approx(window)
    assert asked == [(0, {"a": 50, "b": 50}), (1, {"a": 40, "b": 40})]
