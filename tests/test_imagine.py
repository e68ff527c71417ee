"""`lerobot-xwam imagine`: pictures of a future beside the truth, and clear words when that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import ONE_CAMERA, SMALL, THREE_CAMERAS, World, dataset_root, make_toy

from lerobot_xwam.cli.main import main
from lerobot_xwam.pictures import MARGIN

STEPS = "--video-steps=3"
MOMENTS = 5


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[World, Path]:
    folders = {}
    for world in (ONE_CAMERA, THREE_CAMERAS):
        toy, folder = make_toy(world), tmp_path_factory.mktemp("checkpoint")
        for part in (toy.policy, toy.pre, toy.post):
            part.save_pretrained(folder)
        folders[world] = folder
    return folders


def imagine(policy: Path, world: World, out: Path, *more: str) -> int:
    arguments = [f"--policy={policy}", f"--dataset={dataset_root(world)}", f"--out={out}", STEPS, *more]
    return main(["imagine", *arguments])


def test_rgb_and_depth_beside_the_truth(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    assert imagine(checkpoints[THREE_CAMERAS], THREE_CAMERAS, tmp_path / "out", "--frame=3") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "imagined.json",
        "imagined.mp4",
        "imagined.png",
    ]
    report = json.loads((tmp_path / "out/imagined.json").read_text())
    assert set(report) == {"psnr", "psnr_if_nothing_moved", "abs_rel", "abs_rel_if_nothing_moved"}
    assert report["psnr_if_nothing_moved"] > 10  # two views of one scene are not strangers
    sheet = np.asarray(Image.open(tmp_path / "out/imagined.png"))
    rows, columns, _ = sheet.shape
    assert rows == 4 * (SMALL["height"] * 2 + MARGIN)  # four films, enlarged twice, each with its name
    assert columns == MOMENTS * 3 * SMALL["width"] * 2  # of three cameras


def test_without_depth_there_are_two_rows(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "out", "--scale=1") == 0
    assert np.asarray(Image.open(tmp_path / "out/imagined.png")).shape[0] == 2 * (SMALL["height"] + MARGIN)
    assert "abs_rel" not in json.loads((tmp_path / "out/imagined.json").read_text())


def test_the_seed_decides(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    def psnr(name: str, seed: int) -> float:
        assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / name, f"--seed={seed}") == 0
        return json.loads((tmp_path / name / "imagined.json").read_text())["psnr"]

    assert psnr("a", 1) == psnr("b", 1) != psnr("c", 2)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--episode=99", "--episode 99: the dataset has episodes 0 to 1"),
        ("--frame=999", "--frame 999: episode 0 has frames 0 to"),
        ("--policy=/not/there", "--policy /not/there: no such folder"),
        ("--dataset=./not-there", "--dataset ./not-there: no such folder"),
    ],
)
def test_what_cannot_be_imagined(
    checkpoints: dict[World, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, words: str
) -> None:
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "out", more) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
