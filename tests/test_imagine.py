"""`lerobot-xwam imagine`: from a dataset, a simulator or a file; with own or given actions; and clear words
when that cannot be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image
from toys import ONE_CAMERA, SMALL, THREE_CAMERAS, Toy, World, dataset_root, make_toy, wake_up

from lerobot_xwam.cli.main import main
from lerobot_xwam.envs.tabletop.dataset import write_dataset
from lerobot_xwam.pictures import MARGIN
from lerobot_xwam.world.calibration import write_calibration
from lerobot_xwam.world.effectors import effectors_of_layout
from lerobot_xwam.world.opening import Episodes
from lerobot_xwam.world.showing.archive import KEYS
from lerobot_xwam.world.showing.depth_scale import BAR

STEPS = "--video-steps=3"
MOMENTS = 5
FRAMES = SMALL["num_frames"]
VIEWS = ("front", "left", "wrist")
FILES = ["imagined.json", "imagined.mp4", "imagined.npz", "imagined.png", "report.html", "views"]
SIMULATOR = ["--env=xwam_tabletop", "--env-option", "cameras=wrist,front,left"]
SIMULATOR += ["observation_height=48", "observation_width=64"]


@pytest.fixture(scope="module")
def toys() -> dict[World, Toy]:
    toys = {world: make_toy(world) for world in (ONE_CAMERA, THREE_CAMERAS)}
    for toy in toys.values():
        wake_up(toy.policy)
    return toys


@pytest.fixture(scope="module")
def checkpoints(toys: dict[World, Toy], tmp_path_factory: pytest.TempPathFactory) -> dict[World, Path]:
    folders = {}
    for world, toy in toys.items():
        folders[world] = tmp_path_factory.mktemp("checkpoint")
        for part in (toy.policy, toy.pre, toy.post):
            part.save_pretrained(folders[world])
    return folders


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other episodes, with camera matrices."""
    return write_dataset(
        tmp_path_factory.mktemp("data") / "measured",
        episodes=1,
        cameras=THREE_CAMERAS.cameras,
        size=THREE_CAMERAS.size,
        seed=900,
        camera_matrices=True,
        progress=False,
    )


def imagine(policy: Path, source: World | Path | list[str], out: Path, *more: str) -> int:
    if isinstance(source, World):
        source = dataset_root(source)
    given = source if isinstance(source, list) else [f"--dataset={source}"]
    return main(["imagine", f"--policy={policy}", *given, f"--out={out}", STEPS, *more])


def told(out: Path) -> dict[str, object]:
    return json.loads((out / "imagined.json").read_text())


def arrays(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "imagined.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dataset_s_frame_with_three_kinds_of_actions(
    checkpoints: dict[World, Path],
    measured: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "deep" / "out"
    more = ["--actions", "own", "recorded", "opposite", "--frame=3", "--clouds=both"]
    assert imagine(checkpoints[THREE_CAMERAS], measured, out, *more) == 0
    assert names(out) == ["clouds", *FILES] and names(out / "views") == [f"{view}.mp4" for view in VIEWS]
    kinds = ["opposite-actions", "own-actions", "recorded-actions", "what-happened"]
    assert names(out / "clouds") == kinds
    files = [f"{i:03}.{each}" for i in range(FRAMES) for each in ("glb", "ply")]
    assert all(names(out / "clouds" / kind) == files for kind in kinds)

    report = told(out)
    metrics = {"psnr", "ssim", "abs_rel", "delta_1", "chamfer", "effector"}
    assert {key for key in report if not key.endswith("_moved")} == metrics | {
        "facts",
        "rows",
        "seconds_per_step",
        "imagined.npz",
    }
    assert report["psnr_if_nothing_moved"] > 10  # two moments of one scene are not strangers
    assert list(report["rows"]) == ["nothing moved", "own actions", "recorded actions"]  # not: opposite

    held, truth = arrays(out), dict(np.load(out / "imagined.npz"))["truth_actions"]
    np.testing.assert_allclose(held["actions"][1], truth, atol=1e-5)
    np.testing.assert_allclose(held["actions"][2], -truth, atol=1e-5)
    assert (held["actions"][0] != truth).any()
    assert held["rgb"].shape == (3, 3, FRAMES, SMALL["height"], SMALL["width"], 3)
    assert (held["rgb"][1] != held["rgb"][2]).any()
    assert np.isfinite(held["poses"]).all() and held["effectors"].shape == (3, FRAMES, 1, 4, 4)
    known = {key for key in KEYS if key != "truth_..."}
    of_truth = {f"truth_{key}" for key in ("rgb", "metres", "states", "actions", "poses", "effectors")}
    assert set(held) == known | of_truth
    assert "| own actions |" in capsys.readouterr().out


def test_what_stands_still_can_be_as_seen(
    checkpoints: dict[World, Path], measured: Path, tmp_path: Path
) -> None:
    """At the moment of acting nothing has moved yet: static cameras show what they saw."""
    out = tmp_path / "out"
    more = ["--frame=3", "--keep-still", "--task=move about"]
    assert imagine(checkpoints[THREE_CAMERAS], measured, out, *more) == 0
    held, facts = arrays(out), told(out)["facts"]
    assert isinstance(facts, dict) and facts["what stands still"] == "as seen"
    assert facts["task"] == "move about"
    wrist = [i for i, view in enumerate(VIEWS) if "on arm" in facts["cameras"][view]]
    assert len(wrist) == 1
    for view in range(len(VIEWS)):
        same = (held["rgb"][0, view, 0] == held["truth_rgb"][view, 0]).all()
        assert same == (view not in wrist)


def test_pictures_without_calibration(
    checkpoints: dict[World, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No camera's place is known: no clouds, and that is said."""
    assert imagine(checkpoints[THREE_CAMERAS], THREE_CAMERAS, tmp_path / "out", "--frame=3") == 0
    assert names(tmp_path / "out") == FILES
    sheet = np.asarray(Image.open(tmp_path / "out/imagined.png"))
    rows, columns, _ = sheet.shape
    assert rows == 4 * (SMALL["height"] * 4 + MARGIN) + BAR  # four films, enlarged, each with its name
    assert columns == MOMENTS * 3 * SMALL["width"] * 4  # of three cameras
    assert "chamfer" not in told(tmp_path / "out") and "abs_rel" in told(tmp_path / "out")
    assert "not in the clouds: {" in capsys.readouterr().out
    page = (tmp_path / "out/report.html").read_text()
    assert "No point clouds: no camera&#x27;s place is known." in page


def test_without_depth_there_are_two_rows(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "out", "--scale=1") == 0
    assert np.asarray(Image.open(tmp_path / "out/imagined.png")).shape[0] == 2 * (SMALL["height"] + MARGIN)
    assert "abs_rel" not in told(tmp_path / "out") and "metres" not in arrays(tmp_path / "out")


def test_samples_are_futures_of_their_seeds(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    policy = checkpoints[ONE_CAMERA]
    assert imagine(policy, ONE_CAMERA, tmp_path / "two", "--samples=2", "--seed=1") == 0
    assert imagine(policy, ONE_CAMERA, tmp_path / "one", "--seed=2") == 0
    two, one = arrays(tmp_path / "two"), arrays(tmp_path / "one")
    assert list(two["futures"]) == ["own actions, seed 1", "own actions, seed 2"]
    assert (two["rgb"][1] == one["rgb"][0]).all() and (two["rgb"][0] != one["rgb"][0]).any()
    assert set(told(tmp_path / "two")["rows"]) == {"nothing moved", *two["futures"]}


def test_edited_actions_of_an_earlier_run(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    policy = checkpoints[ONE_CAMERA]
    assert imagine(policy, ONE_CAMERA, tmp_path / "first") == 0
    first = arrays(tmp_path / "first")["actions"]
    np.save(tmp_path / "edited.npy", 0.5 * first[0])
    more = ["--actions", str(tmp_path / "first/imagined.npz"), str(tmp_path / "edited.npy")]
    assert imagine(policy, ONE_CAMERA, tmp_path / "again", *more) == 0
    again = arrays(tmp_path / "again")
    assert list(again["futures"]) == ["actions of imagined.npz", "actions of edited.npy"]
    np.testing.assert_allclose(again["actions"], [first[0], 0.5 * first[0]], atol=1e-5)
    assert "psnr" not in told(tmp_path / "again")  # nobody knows what would have followed
    assert "Nothing to compare with" in (tmp_path / "again/report.html").read_text()


def test_in_a_simulator_the_first_future_is_done(checkpoints: dict[World, Path], tmp_path: Path) -> None:
    more = ["--samples=2", "--episode=5", "--frame=4"]
    assert imagine(checkpoints[THREE_CAMERAS], SIMULATOR, tmp_path / "out", *more) == 0
    report, held = told(tmp_path / "out"), arrays(tmp_path / "out")
    assert list(report["rows"]) == ["nothing moved", "own actions, seed 0"]
    np.testing.assert_allclose(held["truth_actions"], held["actions"][0], atol=1e-5)
    assert "clouds" in names(tmp_path / "out") and report["facts"]["env"] == "xwam_tabletop"
    assert held["truth_states"].shape == held["states"][0].shape
    np.testing.assert_allclose(held["truth_states"][0], held["states"][0, 0], atol=1e-4)


def saved_observation(path: Path, toy: Toy, **changed: object) -> Path:
    raw = toy.observation(3)
    held = {
        key: (value.permute(1, 2, 0) * 255).round().byte().numpy()
        for key, value in raw.items()
        if key.startswith("observation.images.") and value.shape[0] == 3
    }
    held |= {"observation.state": raw["observation.state"].numpy(), "task": raw["task"], "fps": 15.0}
    np.savez(path, **{key: value for key, value in (held | changed).items() if value is not None})
    return path


def test_a_saved_observation(
    checkpoints: dict[World, Path],
    toys: dict[World, Toy],
    measured: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As good as the dataset's own frame; its cameras come from a file, in which one is missing."""
    policy, toy = checkpoints[THREE_CAMERAS], toys[THREE_CAMERAS]
    rig, _ = Episodes.open(str(measured), toy.policy.config).rig(0, effectors_of_layout)
    write_calibration(tmp_path / "rig.json", rig)
    file = json.loads((tmp_path / "rig.json").read_text())
    del file["cameras"]["left"]
    (tmp_path / "rig.json").write_text(json.dumps(file))
    source = [f"--observation={saved_observation(tmp_path / 'now.npz', toy)}"]
    more = [f"--calibration={tmp_path / 'rig.json'}", "--actions", "own", "opposite"]
    assert imagine(policy, source, tmp_path / "saved", *more) == 0
    assert imagine(policy, THREE_CAMERAS, tmp_path / "recorded", "--frame=3") == 0
    saved, recorded = arrays(tmp_path / "saved"), arrays(tmp_path / "recorded")
    np.testing.assert_array_equal(saved["actions"][0], recorded["actions"][0])
    np.testing.assert_allclose(saved["actions"][1], -saved["actions"][0], atol=1e-5)
    np.testing.assert_array_equal(saved["rgb"][0], recorded["rgb"][0])
    assert "truth_rgb" not in saved and set(told(tmp_path / "saved")) == {"facts", "imagined.npz"}
    assert names(tmp_path / "saved/clouds") == ["opposite-actions", "own-actions"]
    assert "not fused, no calibration: observation.images.left" in caplog.text
    assert "Not in the point clouds: left (no calibration)." in (tmp_path / "saved/report.html").read_text()


def test_where_an_episode_ends_the_truth_ends(
    checkpoints: dict[World, Path],
    toys: dict[World, Toy],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    episodes = Episodes.open(str(dataset_root(ONE_CAMERA)), toys[ONE_CAMERA].policy.config)
    late, last = episodes.length(0) - 9, episodes.length(0) - 1
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "out", f"--frame={late}") == 0
    assert arrays(tmp_path / "out")["truth_rgb"].shape[1] == 3  # now, and 4 and 8 control steps later
    assert len(told(tmp_path / "out")["rows"]["own actions"]["per_step"]["psnr"]) == 2
    assert "The episode ended" in (tmp_path / "out/report.html").read_text()
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "last", f"--frame={last}") == 0
    assert "psnr" not in told(tmp_path / "last")
    more = [f"--frame={late}", "--actions", "recorded"]
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "none", *more) == 1
    assert "the recording ends 0.53 s after this frame" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--episode=99"], "episode 99: the dataset has episodes 0 to 1"),
        (["--frame=999"], "--frame 999: episode 0 has frames 0 to"),
        (["--frame=-1"], "--frame -1: at least 0"),
        (["--samples=0"], "--samples 0: at least 1"),
        (["--policy=/not/there"], "--policy /not/there: no such folder"),
        (["--dataset=./not-there"], "--dataset ./not-there: no such folder"),
        (["--env=xwam_tabletop"], "give one of --dataset, --observation and --env"),
        (["--actions", "opposite"], "interface 'native' may be targets"),
        (["--actions", "backwards"], "wanted own, recorded, opposite, or a file"),
        (["--actions", "none.npy"], "none.npy"),
        (["--actions", "{folder}/short.npy"], "actions of shape (3, 5): this policy's interface 'native'"),
        (["--actions", "{folder}/nan.npy"], "NaN or infinite value at step 2"),
        (["--actions", "{folder}/many.npz"], "shape (2, 16, 5), wanted (steps, numbers) of one future"),
        (["--actions", "{folder}/other.npz"], "no 'actions' in it, but ['action']"),
        (["--actions", "{folder}/text.npy"], "cannot be read as an array of numbers"),
    ],
)
def test_what_cannot_be_imagined(
    checkpoints: dict[World, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    given, (out, *_) = tmp_path / "given", [tmp_path / "results" / "out"]
    given.mkdir()
    broken = np.zeros((16, 5), dtype=np.float32)
    broken[2] = np.nan
    np.save(given / "short.npy", np.zeros((3, 5)))
    np.save(given / "nan.npy", broken)
    np.savez(given / "many.npz", actions=np.zeros((2, 16, 5)))
    np.savez(given / "other.npz", action=np.zeros((16, 5)))
    (given / "text.npy").write_text("1 2 3")
    more = [each.format(folder=given) for each in more]
    assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, out, *more) == 1
    assert words in capsys.readouterr().err
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"observation.images.front": None}, "lacks observation.images.front"),
        ({"fps": None}, "--fps"),
        ({"observation.images.front": np.zeros((8, 8, 3))}, "float64 of shape (8, 8, 3), wanted uint8"),
        ({"observation.state": np.full(5, np.nan)}, "finite numbers"),
        ({"task": np.array([{}], dtype=object)}, "no .npz of plain arrays"),
    ],
)
def test_an_observation_that_is_none(
    checkpoints: dict[World, Path],
    toys: dict[World, Toy],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, object],
    words: str,
) -> None:
    source = [f"--observation={saved_observation(tmp_path / 'now.npz', toys[ONE_CAMERA], **changed)}"]
    assert imagine(checkpoints[ONE_CAMERA], source, tmp_path / "out") == 1
    assert words in capsys.readouterr().err
    assert names(tmp_path) == ["now.npz"]


def halfway(problem: BaseException | type[BaseException]) -> Callable[..., None]:
    def write(path: Path, *_: object) -> None:
        path.write_text("half")
        raise problem

    return write


def test_nothing_is_overwritten_and_nothing_is_left(
    checkpoints: dict[World, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = checkpoints[ONE_CAMERA]
    (tmp_path / "out").mkdir()
    assert imagine(policy, ONE_CAMERA, tmp_path / "out") == 1
    assert "exists already" in capsys.readouterr().err
    for problem, code in ((KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)):
        with patch("lerobot_xwam.world.showing.hanging.write_archive", halfway(problem)):
            assert imagine(policy, ONE_CAMERA, tmp_path / "new") == code
    assert "disk" in capsys.readouterr().err
    assert names(tmp_path) == ["out"]


def test_a_place_that_cannot_be_written_is_known_at_once(
    checkpoints: dict[World, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with patch("lerobot_xwam.world.opening.open_policy", side_effect=AssertionError("too late")):
        assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "file" / "out") == 1
    assert os.fspath(tmp_path / "file") in capsys.readouterr().err


def test_a_recording_wants_rerun(
    checkpoints: dict[World, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch("lerobot_xwam.world.showing.recording.find_spec", return_value=None):
        assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "out", "--rerun") == 1
    assert "pip install 'lerobot[viz]'" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_metrics_are_an_extra(
    checkpoints: dict[World, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch("lerobot_xwam.cli.scene_options.find_spec", return_value=None):
        assert imagine(checkpoints[ONE_CAMERA], ONE_CAMERA, tmp_path / "out") == 1
    assert "pip install 'lerobot_policy_xwam[world]'" in capsys.readouterr().err
