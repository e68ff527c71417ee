"""Loading for training: what a sample opens, what `lerobot-xwam bench --train` says of the loader."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from lerobot.datasets import video_utils
from lerobot.datasets.video_utils import decode_video_frames
from toys import SMALL, THREE_CAMERAS, dataset_root

from lerobot_xwam import XWAMConfig
from lerobot_xwam.benching import loading
from lerobot_xwam.benching import machine as machines
from lerobot_xwam.benching.loading import loading_advice, metadata_of, open_dataset, workers_needed
from lerobot_xwam.cli.main import main


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    config(folder)
    root = str(dataset_root(THREE_CAMERAS))
    command = ["cache-latents", "--config", str(folder / "train.json"), "--dataset", root]
    assert main([*command, "--variants=1", "--out", str(folder / "latents")]) == 0
    return folder / "latents"


def config(folder: Path) -> Path:
    path = folder / "train.json"
    path.write_text(json.dumps({"policy": {"type": "xwam", **SMALL}}))
    return path


class Opens:
    """Files that PyAV opened, and the threads that did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[str] = []
        self.threads: set[int] = set()
        right = av.open

        def counted(path: Any, *args: Any, **how: Any) -> Any:
            self.files.append(str(path))
            self.threads.add(threading.get_ident())
            return right(path, *args, **how)

        monkeypatch.setattr(video_utils.av, "open", counted)


def test_a_sample_opens_each_of_its_videos_once_in_threads(monkeypatch) -> None:
    """LeRobot decodes a sample's cameras side by side; a window of frames is one query, not one for each."""
    meta, policy = metadata_of(str(dataset_root(THREE_CAMERAS))), XWAMConfig(**SMALL)
    dataset, opens = open_dataset(meta, policy, "pyav"), Opens(monkeypatch)
    sample = dataset[3]
    assert len(meta.video_keys) == 6
    assert len(opens.files) == len(set(opens.files)) == 6
    assert len(opens.threads) > 1 and threading.get_ident() not in opens.threads
    seconds = [(3 + step) / meta.fps for step in policy.observation_delta_indices]
    for key in sorted(set(meta.video_keys) - set(meta.depth_keys)):
        file = meta.root / meta.get_video_file_path(0, key)
        assert torch.equal(sample[key], decode_video_frames(file, seconds, 1e-4, "pyav", return_uint8=True))


def test_a_sample_of_cached_latents_opens_no_video(latents: Path, monkeypatch) -> None:
    opens, policy = Opens(monkeypatch), XWAMConfig(**SMALL, latent_cache=str(latents))
    dataset = open_dataset(metadata_of(str(latents / "dataset")), policy, "pyav")
    assert "action" in dataset[3] and opens.files == []


def test_training_from_frames_beside_training_from_latents(
    latents: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(machines, "PATIENCE_S", 0.1)
    out = tmp_path / "bench.json"
    arguments = ["bench", "--train", "--device", "cpu", "--repeats", "1", "--batch", "2", "--out", str(out)]
    arguments += ["--config", str(config(tmp_path)), "--dataset", str(dataset_root(THREE_CAMERAS))]
    assert main([*arguments, "--latents", str(latents)]) == 0
    printed, said = capsys.readouterr().out, json.loads(out.read_text())
    frames, cached = said["training"], said["training_from_latents"]
    assert said["times_faster_from_latents"] == cached["samples_per_s"] / frames["samples_per_s"]
    assert cached["sample_s"] < frames["sample_s"] and cached["loader_share"] < frames["loader_share"]
    assert frames["workers_needed"] >= 1 and frames["video_backend"] in ("pyav", "torchcodec")
    for words in ("waiting for data", "the loader's share is", "the same from latents", "in one process"):
        assert words in printed
    assert "times the samples/s from latents" in printed and "--num_workers=" in printed


def test_as_many_processes_as_the_step_leaves_time_for() -> None:
    assert workers_needed(sample_s=0.1, batch=8, busy_s=0.25) == 4
    assert workers_needed(sample_s=0.001, batch=1, busy_s=1.0) == 1


@pytest.mark.parametrize(
    ("share", "needed", "from_latents", "words"),
    [
        (0.02, 1, False, ["the loader keeps up", "--num_workers=2 is enough"]),
        (0.5, 3, False, ["--num_workers=3 keeps up", "cache-latents"]),
        (0.5, 9, False, ["9 processes would keep up, but there are 4 core(s)", "cache-latents"]),
        (0.5, 3, True, ["--num_workers=3 keeps up"]),
    ],
)
def test_the_advice_says_what_to_set(monkeypatch, share, needed, from_latents, words) -> None:
    monkeypatch.setattr(loading, "cores", lambda: 4)
    training = {"loader_share": share, "workers_needed": needed, "sample_s": 0.012, "workers": 2}
    said = " ".join(loading_advice(training, from_latents))
    assert all(word in said for word in words) and "12 ms" in said
    assert ("cache-latents" in said) == ("cache-latents" in " ".join(words))
