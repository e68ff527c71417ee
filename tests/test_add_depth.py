"""`lerobot-xwam add-depth`: depth by an estimator, steady in time, in metres, and LeRobot's own to read."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import forked
import numpy as np
import pytest
import world_scene as scene
from commands import BIN, run
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_xwam.cli.main import main
from lerobot_xwam.data.writing import create_dataset, quiet_encoders
from lerobot_xwam.estimating.alignment import Fit, fit_metres
from lerobot_xwam.estimating.estimator import Kind, estimated
from lerobot_xwam.estimating.transformers_model import load_estimator
from lerobot_xwam.files import held
from lerobot_xwam.labelling import label, steadying
from lerobot_xwam.labelling.label import add_depth
from lerobot_xwam.labelling.settings import Settings
from lerobot_xwam.labelling.source import Source
from lerobot_xwam.labelling.sweep import View, sweep
from lerobot_xwam.space.poses import pose_matrix
from lerobot_xwam.world.cameras import Camera
from lerobot_xwam.world.grid import unproject

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
SIZE, FOCAL, FPS = (60, 80), 75.0, 10
LENGTHS = (14, 11)  # frames of two episodes
MIDDLE = np.array([0.0, 0.0, 0.05])


def pose_of(camera: str, episode: int, frame: int) -> np.ndarray:
    """Room <- camera: one stands still, one goes sideways."""
    eye = np.array([0.6, 0.5, 0.5])
    if camera == WRIST:
        eye = np.array([0.45, -0.35 + 0.02 * frame, 0.4 + 0.05 * episode])
    return scene.look_at(eye, MIDDLE)


def drawn(camera: Camera, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture and metres of the ball on the floor, with a texture of a few centimetres."""
    _, metres = scene.render(camera, pose)
    v, u = np.mgrid[0 : camera.size[0], 0 : camera.size[1]] + 0.5
    metres = metres.clip(0.05, 8)
    points = unproject(metres, np.stack([u, v], axis=-1), camera.intrinsics) @ pose[:3, :3].T + pose[:3, 3]
    waves = np.array([[71, 23, 40], [-37, 83, 11], [90, -61, 59], [29, 47, -97]])  # per metre
    colour = 127 + 30 * np.sin(points @ waves.T).sum(axis=-1, keepdims=True) * np.array([1.0, 0.9, 0.8])
    return colour.round().clip(0, 255).astype(np.uint8), metres.astype(np.float32)


def shot(camera: str, episode: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and metres."""
    still = Camera(scene.pinhole(SIZE, FOCAL), SIZE, pose_of(camera, episode, frame))
    return drawn(still, still.pose)


TRUTH = {
    (camera, episode, frame): shot(camera, episode, frame)
    for camera in (FRONT, WRIST)
    for episode, length in enumerate(LENGTHS)
    for frame in range(length)
}


def write(
    root: Path,
    cameras: Sequence[str] = (FRONT,),
    *,
    matrices: bool = False,
    depth: Callable[[str, int, int, np.ndarray], np.ndarray] | None = None,
    depth_of: Sequence[str] = (),
    videos: bool = True,
) -> Path:
    """A dataset of the scene. depth: camera, episode, frame, true metres -> readings, 0 for none."""
    picture: dict[str, Any] = {"dtype": "video" if videos else "image", "names": ["h", "w", "c"]}
    features: dict[str, Any] = {
        name: {"dtype": "float32", "shape": (2,), "names": ["a", "b"]}
        for name in ("observation.state", "action")
    }
    for camera in cameras:
        features[camera] = {**picture, "shape": (*SIZE, 3)}
        if camera in depth_of:
            features[f"{camera}_depth"] = {**picture, "shape": (*SIZE, 1), "info": {"is_depth_map": True}}
        if matrices:
            name = f"observation.camera.{camera.rpartition('.')[2]}"
            features[f"{name}.intrinsics"] = {"dtype": "float32", "shape": (3, 3), "names": None}
            features[f"{name}.extrinsics"] = {"dtype": "float32", "shape": (4, 4), "names": None}
    with quiet_encoders():
        dataset = create_dataset(root, "local/scene", FPS, features, "none", 64, videos)
        for episode, length in enumerate(LENGTHS):
            for i in range(length):
                row: dict[str, Any] = {"task": f"task {episode}"}
                row["observation.state"] = row["action"] = np.float32([episode, i])
                for camera in cameras:
                    row[camera], metres = TRUTH[camera, episode, i]
                    if camera in depth_of:
                        read = metres if depth is None else depth(camera, episode, i, metres)
                        row[f"{camera}_depth"] = read[..., None].astype(np.float32)
                    if matrices:
                        name = f"observation.camera.{camera.rpartition('.')[2]}"
                        row[f"{name}.intrinsics"] = scene.pinhole(SIZE, FOCAL).astype(np.float32)
                        row[f"{name}.extrinsics"] = pose_of(camera, episode, i).astype(np.float32)
                dataset.add_frame(row)
            dataset.save_episode()
        dataset.finalize()
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One camera, nothing that tells metres."""
    return write(tmp_path_factory.mktemp("data") / "plain")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A still camera with depth and a moving one without, and where they are."""
    root = tmp_path_factory.mktemp("data") / "calibrated"
    return write(root, (FRONT, WRIST), matrices=True, depth_of=(FRONT,))


class Knowing:
    """Knows the scene: recognises a picture and tells its depth, in units of its own that jump."""

    def __init__(self, kind: Kind = "inverse", jumps: float = 0.0, seed: int = 0) -> None:
        self.kind, self.jumps, self.calls = kind, jumps, 0
        self.keys = list(TRUTH)
        self.small = np.stack([TRUTH[key][0][::6, ::6].astype(np.float32) for key in self.keys])
        rng = np.random.default_rng(seed)
        self.factors = np.exp(jumps * rng.normal(size=len(self.keys)))
        self.offsets = jumps * rng.normal(size=len(self.keys))

    def __call__(self, pictures: np.ndarray, /) -> np.ndarray:
        self.calls += 1
        maps = []
        for place, picture in enumerate(pictures):
            off = np.abs(self.small - picture[::6, ::6]).mean(axis=(1, 2, 3))
            best = int(off.argmin())
            metres = TRUTH[self.keys[best]][1]
            drawn = (best + place) % len(self.keys)  # another number for a picture that comes again
            if self.kind == "inverse":
                maps.append(self.factors[drawn] * 7 / metres + 3 + self.offsets[drawn])
            else:
                maps.append(self.factors[drawn] * metres * (0.4 if self.kind == "depth" else 1))
        return np.stack(maps).astype(np.float32)


def settings(root: Path, kind: Kind, *cameras: str, **changed: Any) -> Settings:
    rest = {"source": str(root), "source_mark": "", "estimator": "fake", "kind": kind, "cameras": cameras}
    return Settings(**{**rest, **changed})


def labelled(root: Path, out: Path, estimator: Any, *cameras: str, **changed: Any) -> dict[str, Any]:
    """The report; the dataset is at `out`."""
    how = settings(root, estimator.kind, *cameras, **changed)
    return add_depth(how, Source.open(root), estimator, out)


def metres_in(root: Path, camera: str) -> np.ndarray:
    """All frames, as LeRobot gives them to a policy. N H W"""
    dataset = LeRobotDataset("local/x", root=root, video_backend="pyav", depth_output_unit="m")
    return np.stack([dataset[i][f"{camera}_depth"].numpy()[0] for i in range(len(dataset))])


def truth_of(camera: str) -> np.ndarray:
    return np.stack([TRUTH[key][1] for key in TRUTH if key[0] == camera])


def off_by(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.median(np.abs(found / truth - 1)))


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# --- the arithmetic


@pytest.mark.parametrize("kind", ["inverse", "depth", "metric"])
def test_scale_and_offset_are_found_among_wrong_pixels(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    metres = rng.uniform(0.3, 4, 3000)
    true = Fit(0.25, -0.1) if kind == "inverse" else Fit(0.25)
    raw = (1 / metres - true.offset) / true.factor if kind == "inverse" else metres / true.factor
    known = metres.copy()
    known[:1200] = rng.uniform(0.3, 4, 1200)  # something else stands there
    known[1200:1300] = np.nan
    found = fit_metres(raw, known, kind)
    assert found is not None and found.points == 2900
    assert found.fit.factor == pytest.approx(true.factor, rel=1e-2)
    assert found.fit.offset == pytest.approx(true.offset, abs=5e-3)
    np.testing.assert_allclose(found.fit.metres(raw.astype(np.float32), kind), metres, rtol=0.03)
    exact = fit_metres(raw, metres, kind)
    assert exact is not None and exact.error < 1e-9 and exact.close == 1
    assert exact.fit.factor == pytest.approx(true.factor, rel=1e-6)


def test_nothing_is_fitted_to_nothing() -> None:
    assert fit_metres(np.ones(9), np.full(9, np.nan), "inverse") is None
    assert fit_metres(np.ones(9), np.linspace(1, 2, 9), "inverse") is None
    assert np.isinf(Fit(1.0, -2.0).metres(np.float32([1.0]), "inverse")).all()


def test_a_scale_that_jumps_is_held_and_one_that_moves_is_kept() -> None:
    """A camera that comes closer: its depth shrinks steadily, and the estimator's scale jumps about it."""
    rng = np.random.default_rng(2)
    shape = rng.uniform(1, 3, steadying.SMALL)
    closer = np.linspace(1.0, 0.4, 60)
    true = (shape * closer[:, None, None]).astype(np.float32)
    jumps = np.exp(0.1 * rng.normal(size=60)).astype(np.float32)
    colours = np.full((60, *steadying.SMALL, 3), 90, dtype=np.float32)
    noisy = true * jumps[:, None, None]
    lines = steadying.steady(noisy, colours, "depth", still=False, frames_each_side=8)
    held_still = noisy * lines[:, :1, None].astype(np.float32)
    path = held_still.mean(axis=(1, 2)) / shape.mean()
    assert np.std(np.diff(np.log(path))) < 0.25 * np.std(np.diff(np.log(closer * jumps)))
    assert np.std(np.log(path / closer)) < 0.05 < np.std(np.log(jumps))
    assert np.polyfit(np.arange(60), np.log(path / closer), 1)[0] == pytest.approx(0, abs=1e-3)


def test_two_views_tell_metres() -> None:
    camera = scene.true_rig().cameras[scene.RIGHT]
    views = []
    for aside in (0.0, 0.05):
        pose = camera.pose @ pose_matrix(np.eye(3), np.array([aside, 0.0, 0.0]))
        picture, metres = drawn(camera, pose)
        views.append((View(picture, camera.intrinsics, pose), metres))
    rows, columns, found = sweep(views[0][0], views[1][0], 0.1, 10)
    off = np.abs(found / views[0][1][rows, columns] - 1)
    assert len(found) >= 30 and np.median(off) < 0.02 and (off < 0.1).mean() > 0.9


# --- datasets


def test_flicker_goes_and_lerobot_reads_what_was_written(plain: Path, tmp_path: Path) -> None:
    """A still scene, an estimator whose scale and offset jump by 10 %, a scale that the user gives."""
    before = files_of(plain)
    noisy = Knowing("inverse", jumps=0.1)
    scale = (1 / 7, -3 / 7)
    untreated = labelled(plain, tmp_path / "raw", noisy, FRONT, scale=scale, smooth=0.0)
    treated = labelled(plain, tmp_path / "out", noisy, FRONT, scale=scale)
    ratio = [
        a["flicker"] / b["flicker"]
        for a, b in zip(treated["cameras"][FRONT], untreated["cameras"][FRONT], strict=True)
    ]
    assert max(ratio) < 0.1, ratio
    found = metres_in(tmp_path / "out", FRONT)
    raw = metres_in(tmp_path / "raw", FRONT)
    for part in (slice(0, LENGTHS[0]), slice(LENGTHS[0], None)):  # what LeRobot reads does not flicker either
        jumps, were = (np.median(np.abs(np.diff(np.log(each[part]), axis=0))) for each in (found, raw))
        assert jumps < 0.1 * were and were > 0.03
    # The rest of the dataset is the old one's, and the old one is untouched.
    assert files_of(plain) == before
    assert {k: v for k, v in files_of(tmp_path / "out").items() if k in before and "meta" not in k} == {
        k: v for k, v in before.items() if "meta" not in k
    }
    assert not os.path.samefile(*(next(root.rglob("*front/*/*.mp4")) for root in (plain, tmp_path / "out")))


def test_the_feature_is_as_lerobot_s_recorder_writes_it(
    calibrated: Path, plain: Path, tmp_path: Path
) -> None:
    """Same 12-bit code, unit and entries; values within a step of the code; statistics in metres."""
    report = labelled(plain, tmp_path / "out", Knowing("metric"), FRONT)
    assert {one["scale from"] for one in report["cameras"][FRONT]} == {label.OWN_METRES}
    key = f"{FRONT}_depth"
    ours, theirs = (LeRobotDataset("local/x", root=root).meta for root in (tmp_path / "out", calibrated))
    left, right = ours.features[key], theirs.features[key]
    assert ours.depth_keys == [key] and left["info"] == right["info"] and left["shape"] == right["shape"]
    step = np.log(13.5 / 3.51) / 4095  # of log(metres + 3.5)
    found, truth = metres_in(tmp_path / "out", FRONT), truth_of(FRONT)
    assert (np.abs(found - truth) <= 0.51 * step * (truth + 3.5) + 1e-6).all()
    for name in ("min", "max", "mean", "q50"):
        np.testing.assert_allclose(ours.stats[key][name], theirs.stats[key][name], rtol=2e-2)
    millimetres = LeRobotDataset("local/x", root=tmp_path / "out", video_backend="pyav")[3][key].numpy()[0]
    np.testing.assert_allclose(millimetres, 1000 * found[3], atol=0.51)


@pytest.mark.parametrize(("kind", "hide"), [("inverse", False), ("inverse", True), ("depth", True)])
def test_relative_depth_takes_metres_from_calibrated_cameras(
    calibrated: Path, tmp_path: Path, kind: Kind, hide: bool
) -> None:
    """From the still camera's readings; or, if those are hidden, by triangulation along the wrist's path."""
    source = Source.open(calibrated)
    if hide:
        source.__dict__["folder"].__dict__["depths"] = []
    estimator = Knowing(kind, jumps=0.02)
    about = add_depth(settings(calibrated, kind, WRIST), source, estimator, tmp_path / "out")
    wanted = "views at known poses" if hide else f"readings of {FRONT}"
    assert {one["scale from"] for one in about["cameras"][WRIST]} == {wanted}
    assert {one["camera"] for one in about["cameras"][WRIST]} == {"moves"}
    assert off_by(metres_in(tmp_path / "out", WRIST), truth_of(WRIST)) < 0.03


def test_gaps_are_filled_and_readings_kept(tmp_path: Path) -> None:
    """Depth for half of the pixels of one episode, and none in the other: its scale is the first one's."""

    def half(camera: str, episode: int, frame: int, metres: np.ndarray) -> np.ndarray:
        return np.where((np.arange(SIZE[1]) < 40) & (episode == 0), metres, 0)

    root = write(tmp_path / "holes", depth=half, depth_of=(FRONT,))
    about = labelled(root, tmp_path / "out", Knowing("inverse"), FRONT, fill_gaps=True)
    first, second = about["cameras"][FRONT]
    assert first["scale from"] == "its own readings" and first["error"] < 0.01
    assert second["scale from"] == "the middle of 1 other episodes" and "0 pixels" in second["because"]
    old, new, truth = metres_in(root, FRONT), metres_in(tmp_path / "out", FRONT), truth_of(FRONT)
    np.testing.assert_array_equal(new[: LENGTHS[0], :, :40], old[: LENGTHS[0], :, :40])
    assert off_by(new, truth) < 0.01 and np.quantile(np.abs(new / truth - 1), 0.99) < 0.05


def test_pictures_that_are_no_videos(tmp_path: Path) -> None:
    root = write(tmp_path / "images", videos=False)
    labelled(root, tmp_path / "out", Knowing("metric"), FRONT)
    assert off_by(metres_in(tmp_path / "out", FRONT), truth_of(FRONT)) < 2e-3


def test_near_and_far_bound_what_is_stored(plain: Path, tmp_path: Path) -> None:
    labelled(plain, tmp_path / "out", Knowing("metric"), FRONT, near=0.6, far=0.9)
    found = metres_in(tmp_path / "out", FRONT)
    assert found.min() >= 0.6 - 1e-6 and found.max() <= 0.9 + 1e-6
    np.testing.assert_allclose(found, truth_of(FRONT).clip(0.6, 0.9), atol=1e-3)


# --- stopped, and going on


def killed_in_call(number: int, inner: Knowing) -> Any:
    class Killed:
        kind = inner.kind

        def __call__(self, pictures: np.ndarray, /) -> np.ndarray:
            if inner.calls + 1 == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(pictures)

    return Killed()


def test_killed_and_resumed_it_writes_the_same_files(calibrated: Path, tmp_path: Path) -> None:
    labelled(calibrated, tmp_path / "whole", Knowing("inverse", 0.02), WRIST)
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    doomed = killed_in_call(2, Knowing("inverse", 0.02))  # in the second episode
    ended = forked.run(lambda: labelled(calibrated, out, doomed, WRIST) and 0, tmp_path / "log")
    assert ended.code == -signal.SIGKILL, ended.output
    assert not out.exists() and [p.name for p in partial.rglob("*.json")] == ["settings.json", "000000.json"]
    assert list((partial / "episodes").glob(".raw-*"))

    def killed_while_assembling() -> int:
        with patch.object(label, "verify", lambda *_: os.kill(os.getpid(), signal.SIGKILL)):
            labelled(calibrated, out, Knowing("inverse", 0.02), WRIST)
        return 0

    assert forked.run(killed_while_assembling, tmp_path / "log").code == -signal.SIGKILL
    assert not out.exists() and (partial / "dataset").is_dir()
    last = Knowing("inverse", 0.02)
    labelled(calibrated, out, last, WRIST)
    assert last.calls == 0  # both episodes were there
    assert files_of(out) == files_of(tmp_path / "whole") and not partial.exists()


def test_a_run_with_other_settings_or_at_the_same_time_is_refused(plain: Path, tmp_path: Path) -> None:
    full = patch.object(label, "assemble", side_effect=OSError(errno.ENOSPC, "no space"))
    with full, pytest.raises(OSError, match=r"disk .* is full. 2 episodes of depth are kept"):
        labelled(plain, tmp_path / "out", Knowing("metric"), FRONT)
    with pytest.raises(ValueError, match=r"begun with other settings.*far: 10.0 -> 5.0"):
        labelled(plain, tmp_path / "out", Knowing("metric"), FRONT, far=5.0)
    with held(tmp_path / "out.partial"), pytest.raises(FileExistsError, match="another process"):
        labelled(plain, tmp_path / "out", Knowing("metric"), FRONT)
    labelled(plain, tmp_path / "out", Knowing("metric"), FRONT)
    with pytest.raises(FileExistsError, match="exists already"):
        labelled(plain, tmp_path / "out", Knowing("metric"), FRONT)


def test_a_disk_without_room_is_told_before_the_work(plain: Path, tmp_path: Path) -> None:
    estimator = Knowing("metric")
    full = patch("shutil.disk_usage", return_value=shutil._ntuple_diskusage(10, 10, 0))
    with full, pytest.raises(OSError, match="are needed, the disk of"):
        labelled(plain, tmp_path / "out", estimator, FRONT)
    assert estimator.calls == 0


# --- what cannot be


def test_numbers_that_are_none_are_refused(plain: Path, tmp_path: Path) -> None:
    def broken(pictures: np.ndarray, /) -> np.ndarray:
        return np.where(np.arange(80) > 70, np.nan, np.ones(pictures.shape[:3]))

    how = settings(plain, "metric", FRONT)
    with pytest.raises(
        ValueError, match=rf"{FRONT}, episode 0: .*gave NaN or infinity \(11.2% of the pixels"
    ):
        add_depth(how, Source.open(plain), broken, tmp_path / "out")
    with pytest.raises(ValueError, match="gave shape"):
        estimated(lambda pictures: np.zeros((1, 2)), np.zeros((2, 4, 4, 3), np.uint8), "here")


def test_what_tells_no_metres_is_refused(plain: Path, calibrated: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing in the dataset tells metres.*--scale FACTOR \[OFFSET\]"):
        labelled(plain, tmp_path / "out", Knowing("inverse"), FRONT)
    with pytest.raises(ValueError, match="inside of the dataset that is read"):
        labelled(plain, plain / "out", Knowing("metric"), FRONT)
    with pytest.raises(ValueError, match=r"has depth already.*--fill-gaps"):
        labelled(calibrated, tmp_path / "out", Knowing("metric"), FRONT)
    with pytest.raises(
        ValueError, match=r"--cameras observation.images.top: .* has observation.images.front"
    ):
        labelled(plain, tmp_path / "out", Knowing("metric"), "observation.images.top")
    assert not list(tmp_path.iterdir())

    class Upside(Knowing):
        def __call__(self, pictures: np.ndarray, /) -> np.ndarray:
            return 20 - super().__call__(pictures)

    with pytest.raises(ValueError, match=r"2 episodes and none tells its scale.*grows with distance"):
        labelled(calibrated, tmp_path / "out", Upside("inverse"), WRIST)


# --- the command, with a real (tiny, untrained) Depth Anything


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of such models: "relative" or "metric"."""
    root = tmp_path_factory.mktemp("estimators")

    def make(gives: str) -> Path:
        from tiny_depth_anything import write_model

        return root / gives if (root / gives).is_dir() else write_model(root / gives, gives)

    return make


def test_an_estimator_tells_what_it_gives(depth_anything: Callable[[str], Path]) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (5, 33, 47, 3), dtype=np.uint8)
    for gives, kind in (("relative", "inverse"), ("metric", "metric")):
        estimator, told = load_estimator(str(depth_anything(gives)))
        maps = estimated(estimator, pictures, "noise")
        assert told == kind and maps.shape == (5, 33, 47) and maps.std() > 0
        np.testing.assert_allclose(estimator(pictures[4:]), maps[4:], atol=1e-5)  # one by one or together
    with pytest.raises(ValueError, match="--device cuda"), patch("torch.cuda.is_available", lambda: False):
        load_estimator(str(depth_anything("metric")), "cuda:77")


def command(*options: str | Path) -> int:
    return main(["add-depth", *map(str, options)])


def test_the_command_with_a_local_depth_anything(
    depth_anything: Callable[[str], Path], plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = depth_anything("metric")
    assert command(plain, "--estimator", folder, "--out", tmp_path / "out", "--hard-links") == 0
    said = capsys.readouterr()
    assert "GB at work" in said.out and "the estimator's own metres (2 episodes)" in said.out
    assert "estimating depth" in said.err and "25/25" in said.err
    found = metres_in(tmp_path / "out", FRONT)
    assert found.shape == (25, *SIZE) and np.isfinite(found).all()
    assert os.path.samefile(*(next(root.rglob("*front/*/*.mp4")) for root in (plain, tmp_path / "out")))
    (about,) = json.loads((tmp_path / "out/meta/labelled.json").read_text())["runs"]
    assert about["settings"]["kind"] == "metric" and len(about["cameras"][FRONT]) == 2
    relative = depth_anything("relative")
    assert command(plain, "--estimator", relative, "--out", tmp_path / "two") == 1
    assert "tells metres" in capsys.readouterr().err
    more = ["--scale", "0.5", "0.2", "--cameras", "front"]
    assert command(plain, "--estimator", relative, "--out", tmp_path / "two", *more) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--estimator", "./none"], "--estimator ./none: no such folder"),
        (["--estimator", "nobody/has-this"], "Nothing is downloaded unasked"),
        (["--estimator", "{empty}"], "Wanted: the folder of a transformers depth-estimation model"),
        (["--estimator", "{other}"], "no depth-estimation model"),
        (["--estimator", "{model}", "--near", "3", "--far", "1"], "need 0 < near < far"),
        (["--estimator", "{model}", "--smooth", "-1"], "--smooth -1.0: seconds, 0 or more"),
        (["--estimator", "{model}", "--cameras", "top"], "--cameras observation.images.top"),
        (["--estimator", "{model}", "--scale", "-2"], "--scale -2.0: wanted FACTOR above 0"),
    ],
)
def test_what_cannot_be_asked(
    depth_anything: Callable[[str], Path],
    plain: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    model = depth_anything("metric")
    shutil.copy(model / "preprocessor_config.json", tmp_path / "other")
    (tmp_path / "other/config.json").write_text('{"model_type": "bert"}')
    places = {"empty": tmp_path / "empty", "other": tmp_path / "other", "model": model}
    filled = [option.format(**places) for option in options]
    assert command(plain, *filled, "--out", tmp_path / "out") == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_model_without_its_weights_is_no_model(
    depth_anything: Callable[[str], Path], plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(depth_anything("metric"), tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    save_file(
        {name: t for name, t in tensors.items() if not name.startswith("head")},
        copy / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert command(plain, "--estimator", copy, "--out", tmp_path / "out") == 1
    assert "lacks" in capsys.readouterr().err
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert command(plain, "--estimator", copy, "--out", tmp_path / "out") == 1
    assert "not loaded" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_line_itself(tmp_path: Path) -> None:
    said = run(
        BIN / "lerobot-xwam",
        "add-depth",
        tmp_path / "none",
        "--estimator=x/y",
        f"--out={tmp_path}/o",
        fails=True,
    )
    assert "lerobot-xwam add-depth: " in said and "no such folder" in said and "Traceback" not in said
