"""`lerobot-xwam evaluate-4d`: over episodes and live, with baselines; and clear words when that cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from tiny_depth_anything import write_model
from toys import SMALL, THREE_CAMERAS, Toy, dataset_root, make_toy, small_config, wake_up

from lerobot_xwam.cli.main import main
from lerobot_xwam.envs.tabletop.dataset import write_dataset
from lerobot_xwam.world.calibration import write_calibration
from lerobot_xwam.world.contest import GIVEN, JOINT, KEPT, STILL, STILL_CODEC
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.opening import Episodes
from lerobot_xwam.world.scores import CEILING

STEPS = "--video-steps=2"


def saved(toy: Toy, folder: Path) -> Path:
    for part in (toy.policy, toy.pre, toy.post):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def toy() -> Toy:
    toy = make_toy(THREE_CAMERAS)
    wake_up(toy.policy)
    return toy


@pytest.fixture(scope="module")
def policy(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(toy, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other episodes, with camera matrices."""
    return write_dataset(
        tmp_path_factory.mktemp("data") / "held-out",
        episodes=2,
        cameras=THREE_CAMERAS.cameras,
        size=THREE_CAMERAS.size,
        seed=900,
        camera_matrices=True,
        progress=False,
    )


def evaluate(policy: Path, data: Path | str, out: Path, *more: str) -> int:
    source = [f"--dataset={data}"] if data else []
    return main(["evaluate-4d", f"--policy={policy}", *source, f"--out={out}", STEPS, *more])


def test_over_held_out_episodes(
    policy: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "4d"
    assert evaluate(policy, held_out, out, "--episodes", "0-1", "--stride=60", "--samples=2") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "horizon.png",
        "metrics.csv",
        "metrics.json",
        "table.md",
    ]
    held = json.loads((out / "metrics.json").read_text())
    windows = held["facts"]["windows"]
    assert windows >= 2 and list(held["rows"]) == [STILL, JOINT, GIVEN]
    assert [row["windows"] for row in held["rows"].values()] == [windows, 2 * windows, 2 * windows]
    for row in held["rows"].values():
        assert set(row["total"]) == {"psnr", "ssim", "abs_rel", "delta_1", "chamfer", "effector"}
        assert all(value is not None for value in row["total"].values())
        assert all(len(steps) == SMALL["num_frames"] - 1 for steps in row["per_step"].values())
    still = held["rows"][STILL]["total"]
    assert still["psnr"] > 15 and still["chamfer"] < 0.05 and still["abs_rel"] < 0.2
    cameras = held["facts"]["cameras"]
    assert "on arm 0, hand-eye from" in cameras["wrist"] and "stands still" in cameras["front"]
    assert "another dataset" in held["facts"]["held out"] or "unknown" in held["facts"]["held out"]
    check = held["facts"]["calibration"]
    assert len(check) == 3 and not any("DISAGREES" in each for each in check)
    printed = capsys.readouterr().out
    assert "calibration: " in printed
    assert "| method | PSNR [dB] ↑" in printed and printed.count("\n| ") >= 4


def test_what_the_codec_alone_makes_of_it(policy: Path, held_out: Path, tmp_path: Path) -> None:
    """The truth through the codec bounds what can be imagined; the last frame through it shows its cost."""
    more = ["--episodes=0", "--windows=2", "--codec-rows", "--keep-still", "--condition=given"]
    assert evaluate(policy, held_out, tmp_path / "out", *more) == 0
    held = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(held["rows"]) == [STILL, STILL_CODEC, CEILING, GIVEN, KEPT.format(GIVEN)]
    assert {row["windows"] for row in held["rows"].values()} == {2}
    starts = {window["start"] for window in held["windows"]}
    assert min(starts) == 0 and len(starts) == 2 and held["facts"]["windows"] == 2
    total = {row: each["total"] for row, each in held["rows"].items()}
    assert total[CEILING]["effector"] < 1e-6 < total[STILL]["effector"]  # its states are the true ones
    assert total[CEILING]["psnr"] > total[GIVEN]["psnr"] and total[STILL]["psnr"] > total[STILL_CODEC]["psnr"]
    (line,) = (each for each in (tmp_path / "out/table.md").read_text().splitlines() if CEILING in each)
    assert "**" not in line  # a bound is no winner


def test_the_first_frame_s_truth_is_the_baseline_by_hand(
    policy: Path, held_out: Path, tmp_path: Path, toy: Toy
) -> None:
    """One number of the report computed anew from the dataset."""
    from lerobot_xwam.data.batch import Clip
    from lerobot_xwam.world.opening import Opened

    assert evaluate(policy, held_out, tmp_path / "out", "--episodes=1", "--condition=given") == 0
    held = json.loads((tmp_path / "out/metrics.json").read_text())
    (first, *_) = (each for each in held["windows"] if each["row"] == STILL)
    window = Episodes.open(str(held_out), toy.policy.config).window(1, 0)
    truth = Opened(toy.policy, toy.pre).world_model(15).recorded(Clip.of(toy.pre(window)))
    assert truth.metres is not None
    errors = [
        np.nanmean(np.abs(truth.metres[view, 0] - truth.metres[view, 2]) / truth.metres[view, 2])
        for view in (0, 1)  # front and left; the wrist does not count
    ]
    assert first["values"]["abs_rel"][1] == pytest.approx(np.mean(errors), rel=1e-4)


def test_live_in_a_simulator(policy: Path, tmp_path: Path) -> None:
    """The joint row's future is that of the actions that were executed: both rows saw the same truth."""
    options = ["--env=xwam_tabletop", "--rollouts=1", "--chunks=2"]
    cameras = ["--env-option", "cameras=wrist,front,left", "observation_height=48", "observation_width=64"]
    assert evaluate(policy, "", tmp_path / "out", *options, *cameras) == 0
    held = json.loads((tmp_path / "out/metrics.json").read_text())
    assert held["rows"][JOINT]["windows"] == 2 and held["facts"]["env_seeds"] == [0]
    assert held["rows"][JOINT]["total"]["chamfer"] is not None
    assert set(held["facts"]["cameras"]) >= {"front", "left"}


def test_a_calibration_file_instead(policy: Path, held_out: Path, tmp_path: Path, toy: Toy) -> None:
    """Written from the matrices of one dataset, used for one without; a camera may be missing."""
    rig, _ = Episodes.open(str(held_out), toy.policy.config).rig(0, effectors_of_layout)
    write_calibration(tmp_path / "all.json", rig)
    held = json.loads((tmp_path / "all.json").read_text())
    del held["cameras"]["left"]
    (tmp_path / "some.json").write_text(json.dumps(held))
    plain = dataset_root(THREE_CAMERAS)  # has no camera matrices
    more = ["--episodes=0", "--condition=given", f"--calibration={tmp_path / 'some.json'}"]
    assert evaluate(policy, plain, tmp_path / "out", *more) == 0
    report = json.loads((tmp_path / "out/metrics.json").read_text())
    assert report["facts"]["not fused"] == {"left": "no calibration"}
    assert 0 < report["rows"][STILL]["total"]["chamfer"] < 0.05


def test_without_calibration_there_are_no_clouds(policy: Path, tmp_path: Path) -> None:
    more = ["--episodes=0", "--condition=given", "--wrist-cameras", "wrist"]
    assert evaluate(policy, dataset_root(THREE_CAMERAS), tmp_path / "out", *more) == 0
    held = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(held["facts"]["not fused"]) == {"front", "left", "wrist"}
    assert "chamfer" not in held["rows"][GIVEN]["total"] and held["rows"][GIVEN]["total"]["abs_rel"] > 0


def test_an_external_estimator_has_its_row(policy: Path, held_out: Path, tmp_path: Path) -> None:
    def load(source: str, device: str) -> tuple[object, str]:
        assert source == "models/some-depth"
        return lambda pictures: np.full(pictures.shape[:3], 2.0, dtype=np.float32), "depth"

    with patch("lerobot_xwam.estimating.transformers_model.load_estimator", load):
        more = ["--episodes=0", "--condition=joint", "--depth-estimator=models/some-depth"]
        assert evaluate(policy, held_out, tmp_path / "out", *more) == 0
    held = json.loads((tmp_path / "out/metrics.json").read_text())
    ours, theirs = held["rows"][JOINT]["total"], held["rows"][f"{JOINT}, depth by some-depth"]["total"]
    assert ours["psnr"] == theirs["psnr"] and ours["abs_rel"] != theirs["abs_rel"]


@pytest.mark.slow
def test_a_depth_anything_from_a_folder_is_measured(policy: Path, held_out: Path, tmp_path: Path) -> None:
    """The relative one is brought to the first frame's metres; the metric one is taken at its word."""
    for gives in ("relative", "metric"):
        model = write_model(tmp_path / gives, gives)
        more = ["--episodes=0", "--condition=joint", f"--depth-estimator={model}"]
        assert evaluate(policy, held_out, tmp_path / f"out-{gives}", *more) == 0
        held = json.loads((tmp_path / f"out-{gives}/metrics.json").read_text())
        theirs = held["rows"][f"{JOINT}, depth by {gives}"]["total"]
        assert theirs["psnr"] == held["rows"][JOINT]["total"]["psnr"]
        assert 0 < theirs["abs_rel"] < 5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--episodes=7"], "episode 7: the dataset has episodes 0 to 1"),
        (["--episodes=one"], "--episodes one: wanted numbers and ranges"),
        (["--stride=0"], "--stride 0: at least 1 is needed"),
        (["--windows=0"], "--windows 0: at least 1 is needed"),
        (["--stride=9", "--windows=2"], "give either --stride or --windows"),
        (["--env=xwam_tabletop"], "give either --dataset or --env"),
        (["--calibration=none.json"], "none.json"),
        (["--lpips-weights=none.pth"], "does not download"),
        (["--depth-estimator=./none"], "--depth-estimator ./none: no such folder"),
        (["--urdf=none.urdf"], "--urdf none.urdf: no such file"),
    ],
)
def test_what_cannot_be_evaluated(
    policy: Path,
    held_out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    assert evaluate(policy, held_out, tmp_path / "out", *more) == 1
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def halfway(problem: BaseException | type[BaseException]) -> Callable[..., None]:
    def write(folder: Path, *_: object) -> None:
        (folder / "metrics.json").write_text("{")
        raise problem

    return write


def test_nothing_is_overwritten_and_nothing_is_left(
    policy: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert evaluate(policy, held_out, tmp_path / "out") == 1
    assert "exists already" in capsys.readouterr().err
    for problem, code in ((KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)):
        with patch("lerobot_xwam.world.report.write_report", halfway(problem)):
            assert evaluate(policy, held_out, tmp_path / "new", "--episodes=0", "--condition=given") == code
    assert "disk" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_known_at_once(
    policy: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with patch("lerobot_xwam.world.opening.open_policy", side_effect=AssertionError("too late")):
        assert evaluate(policy, held_out, tmp_path / "file" / "out") == 1
    assert os.fspath(tmp_path / "file") in capsys.readouterr().err


def test_another_robot_s_dataset_is_refused(held_out: Path) -> None:
    with pytest.raises(ValueError, match=r"no observation.images.top; this policy sees"):
        Episodes.open(str(held_out), small_config(cameras=("front", "top")))
