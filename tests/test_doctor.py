"""`lerobot-xwam doctor`: names each planted defect and no other, and is silent on good datasets."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pyarrow.parquet as pq
import pytest
from lerobot.configs import FeatureType, PolicyFeature
from PIL import Image
from planted import (
    ACTION,
    FRONT,
    STATE,
    Plant,
    all_of,
    both,
    data_file,
    delayed,
    each,
    every,
    info,
    numbers,
    pictures,
    put,
    tasks,
)

from lerobot_xwam import XWAMConfig
from lerobot_xwam.cli.main import main
from lerobot_xwam.doctor.checks.table import CHECKS
from lerobot_xwam.doctor.rows import read_rows
from lerobot_xwam.envs.tabletop.dataset import write_dataset

GOOD: dict[str, dict[str, Any]] = {
    "one arm": {"cameras": ("front", "wrist"), "use_videos": False},
    "two arms": {
        "cameras": ("front", "left"),
        "task": "lift_two_arms",
        "depth": False,
        "use_videos": False,
    },
    "joints": {"cameras": ("front",), "interface": "native", "depth": False, "use_videos": False},
    "videos": {"cameras": ("front",), "interface": "native"},
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    return {
        name: write_dataset(folder / name.replace(" ", "-"), episodes=2, size=(32, 40), progress=False, **how)
        for name, how in GOOD.items()
    }


def doctor(dataset: Path | str, *options: str) -> int:
    return main(["doctor", str(dataset), "--preset=small", *options])


def examined(capsys: pytest.CaptureFixture, dataset: Path, *options: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = doctor(dataset, "--json", *options)
    return code, json.loads(capsys.readouterr().out)


def serious(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["level"] != "fine"]


# --- good datasets ---


@pytest.mark.parametrize("name", GOOD)
def test_good_datasets_are_left_in_peace(
    name: str, good: dict[str, Path], capsys: pytest.CaptureFixture
) -> None:
    before = fingerprint(good[name])
    code, report = examined(capsys, good[name])
    assert (code, serious(report)) == (0, [])
    assert report["healthy"] and report["counts"]["fine"] > 15
    assert fingerprint(good[name]) == before
    interface = "native" if GOOD[name].get("interface") == "native" else "ee"
    assert report["facts"]["interface"].startswith(interface)
    assert f"--dataset.root={good[name]}" in report["command"]
    assert ("video_backend=pyav" in report["command"]) <= (name == "videos")


def fingerprint(root: Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- planted defects ---

Q = slice(3, 7)
black = Image.new("RGB", (40, 32))

# name -> (good dataset, how to spoil it, the check that must name it, its level, words it must say)
DEFECTS: dict[str, tuple[str, Plant, str, str, str]] = {
    "NaN": ("one arm", numbers(put(STATE, (60, 2), np.nan)), "finite", "problem", "episode 1"),
    "infinite": ("joints", numbers(put(ACTION, (9, 1), np.inf)), "finite", "problem", "episode 0, frame 9"),
    "x y z w": (
        "one arm",
        numbers(put(STATE, every(Q), lambda q: q[:, [1, 2, 3, 0]])),
        "quaternion-order",
        "problem",
        "x y z w",
    ),
    "x y z w by name": (
        "one arm",
        both(
            numbers(put(STATE, every(Q), lambda q: q[:, [1, 2, 3, 0]])),
            info(
                lambda i: i["features"][STATE].update(
                    names=["x", "y", "z", "qx", "qy", "qz", "qw", "gripper"]
                )
            ),
        ),
        "quaternion-order",
        "problem",
        "x y z w",
    ),
    "sign flips": (
        "one arm",
        numbers(put(STATE, (slice(20, 30), Q), lambda q: -q)),
        "quaternion-sign",
        "remark",
        "2 times, first at episode 0, frame 20",
    ),
    "no unit quaternion": (
        "two arms",
        numbers(put(STATE, (slice(5, 15), slice(11, 15)), lambda q: 1.3 * q)),
        "quaternion-length",
        "problem",
        "right quaternion: length 1.3",
    ),
    "gripper's sign": (
        "one arm",
        numbers(put(ACTION, every(slice(6, 7)), lambda a: -a)),
        "gripper",
        "problem",
        "commanded to close",
    ),
    "gripper's range": (
        "one arm",
        numbers(
            all_of(
                put(STATE, every(slice(7, 8)), lambda s: 255 * s),
                put(ACTION, every(slice(6, 7)), lambda a: 255 * a),
            )
        ),
        "gripper",
        "remark",
        "255",
    ),
    "grippers of two units": (
        "two arms",
        numbers(
            all_of(
                put(STATE, every(slice(15, 16)), lambda s: 0.08 * s),
                put(ACTION, every(slice(13, 14)), lambda a: 0.08 * a),
            )
        ),
        "gripper",
        "remark",
        "different units",
    ),
    "gripper as open or close": (
        "one arm",
        numbers(
            put(ACTION, every(slice(6, 7)), lambda a: np.where(np.cumsum(a < -1e-3) > 0, -1, 1)[:, None])
        ),
        "gripper",
        "remark",
        "open or close",
    ),
    "wrong frame rate": (
        "one arm",
        info(lambda i: i.update(fps=20)),
        "timestamps",
        "problem",
        "run at 15 fps",
    ),
    "too fast for the stride": (
        "one arm",
        both(
            info(lambda i: i.update(fps=60)),
            numbers(put("timestamp", slice(None), lambda t: t / 4)),
        ),
        "frame-rate",
        "remark",
        "--policy.actions_per_frame=12",
    ),
    "late frames": (
        "joints",
        numbers(put("timestamp", slice(70, 80), lambda t: t + 0.02)),
        "timestamps",
        "problem",
        "20 ms off",
    ),
    "miscounted": (
        "joints",
        numbers(put("index", slice(30, None), lambda i: i + 2)),
        "numbering",
        "problem",
        "episode 0, frame 30",
    ),
    "broken off": ("joints", planted.broken_off, "episode-lengths", "remark", "episode 1 (14 frames)"),
    "slow state": ("joints", numbers(planted.repeated), "repeated-states", "remark", "once more"),
    "stuck sensor": ("joints", numbers(put(STATE, every(slice(1, 2)), 0.3)), "constant", "problem", "reach"),
    "dead command": ("one arm", numbers(put(ACTION, every(slice(2, 3)), 0)), "constant", "problem", "left_z"),
    "gripper at rest": (
        "one arm",
        numbers(all_of(put(STATE, every(slice(7, 8)), 1), put(ACTION, every(slice(6, 7)), 0))),
        "constant",
        "remark",
        "left_gripper",
    ),
    "outlier": ("one arm", numbers(put(ACTION, (40, 1), 3)), "outliers", "remark", "episode 0, frame 40"),
    "angle wraps": ("joints", numbers(planted.wrapped), "jumps", "problem", "base_angle"),
    "jump": (
        "one arm",
        numbers(put(STATE, (slice(25, 40), slice(1, 2)), lambda y: y + 0.3)),
        "jumps",
        "remark",
        "episode 0, frame 25",
    ),
    "averaged quantiles": (
        "joints",
        numbers(
            all_of(
                put(STATE, (slice(51, None), slice(0, 1)), lambda s: s + 9),
                put(ACTION, (slice(51, None), slice(0, 1)), lambda a: a + 9),
            )
        ),
        "averaged-quantiles",
        "remark",
        "base_angle",
    ),
    "old statistics": (
        "joints",
        lambda root: planted.edit_json(root, "stats", lambda s: s[STATE].update(max=[0.1] * 5)),
        "statistics",
        "problem",
        "recompute_stats",
    ),
    "no statistics": (
        "joints",
        lambda root: (root / "meta/stats.json").unlink(),
        "statistics",
        "problem",
        "missing",
    ),
    "late actions": ("joints", numbers(delayed(ACTION, 4)), "lag", "problem", "4 frames before"),
    "late states": ("one arm", numbers(delayed(STATE, 8)), "lag", "remark", "8 frames"),
    "actions are states": (
        "joints",
        numbers(lambda columns: columns.update({ACTION: columns[STATE].copy()})),
        "action-meaning",
        "problem",
        "same frame",
    ),
    "absolute actions": (
        "one arm",
        numbers(planted.absolute_actions),
        "action-meaning",
        "problem",
        "--policy.interface=native",
    ),
    "millimetres": (
        "one arm",
        numbers(
            all_of(
                put(STATE, every(slice(0, 3)), lambda p: 1000 * p),
                put(ACTION, every(slice(0, 3)), lambda p: 1000 * p),
            )
        ),
        "action-meaning",
        "problem",
        "millimetres",
    ),
    "a controller's units": (
        "two arms",
        numbers(put(ACTION, every(slice(7, 10)), lambda a: 50 * a)),
        "action-meaning",
        "remark",
        "right commanded steps are 50",
    ),
    "no names": (
        "one arm",
        info(lambda i: [i["features"][key].update(names=None) for key in (STATE, ACTION)]),
        "interface",
        "remark",
        "--policy.interface=ee",
    ),
    "three numbers of one": (
        "joints",
        info(lambda i: i["features"].pop(FRONT)),
        "fits-policy",
        "problem",
        "RGB camera",
    ),
    "black camera": ("joints", pictures(FRONT, each(lambda _: black)), "showing", "problem", "nothing"),
    "frozen camera": (
        "joints",
        pictures(FRONT, lambda old: [old[0]] * len(old)),
        "showing",
        "problem",
        "frozen",
    ),
    "damaged picture": ("joints", pictures(FRONT, each(lambda _: b"none")), "decodable", "problem", FRONT),
    "other size": (
        "joints",
        info(lambda i: i["features"][FRONT].update(shape=[30, 40, 3])),
        "decodable",
        "problem",
        "32x40",
    ),
    "other proportions": ("joints", planted.wide, "views", "remark", "--policy.width="),
    "depth as colour": ("joints", planted.renamed_camera, "depth-flag", "problem", "is_depth_map"),
    "depth in the wrong unit": (
        "one arm",
        info(lambda i: i["features"][f"{FRONT}_depth"]["info"].update(depth_unit="mm")),
        "depth-unit",
        "problem",
        "1000 times too small",
    ),
    "far depth": (
        "one arm",
        pictures(f"{FRONT}_depth", each(lambda d: Image.fromarray(np.asarray(d) * 5))),
        "depth-unit",
        "remark",
        "--policy.depth_far=",
    ),
    "depth without a reading": (
        "one arm",
        pictures(f"{FRONT}_depth", each(lambda d: Image.fromarray(np.asarray(d) * 0))),
        "depth-unit",
        "problem",
        "no pixel",
    ),
    "cropped depth": ("one arm", planted.square_depth, "depth-size", "problem", "other proportions"),
    "mirrored depth": (
        "one arm",
        pictures(f"{FRONT}_depth", each(lambda d: d.transpose(Image.Transpose.ROTATE_180))),
        "depth-alignment",
        "problem",
        "only when",
    ),
    "no instruction": ("joints", tasks(["  "]), "instructions", "problem", "default_task"),
    "no meaning": ("joints", tasks(["Test."]), "instructions", "remark", "'Test.'"),
    "lost instructions": ("joints", tasks(None), "instructions", "problem", "no task 0"),
    "unknown codec": (
        "videos",
        info(lambda i: i["features"][FRONT]["info"].update({"video.codec": "nobodys"})),
        "decoders",
        "problem",
        "nobodys",
    ),
    "missing video": (
        "videos",
        lambda root: (root / "videos" / f"{FRONT}_depth" / "chunk-000/file-000.mp4").unlink(),
        "video-frames",
        "problem",
        "1 of 2 video files are missing",
    ),
    "dropped frames": ("videos", planted.shorter_video, "video-frames", "problem", "fewer frames"),
    "damaged video": (
        "videos",
        lambda root: (root / "videos" / FRONT / "chunk-000/file-000.mp4").write_bytes(b"none"),
        "decodable",
        "problem",
        FRONT,
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_named_and_no_other(
    defect: str, good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    name, plant, check, level, words = DEFECTS[defect]
    spoilt = tmp_path / "spoilt"
    shutil.copytree(good[name], spoilt)
    plant(spoilt)
    before = fingerprint(spoilt)
    code, report = examined(capsys, spoilt)
    found = serious(report)
    assert {(each["check"], each["level"]) for each in found} == {(check, level)}, json.dumps(found, indent=1)
    assert words in json.dumps(found)
    assert all(each["what"] and each["why"] and each["fix"] for each in found)
    assert code == (1 if level == "problem" else 0)
    assert fingerprint(spoilt) == before


def test_same_camera_twice(good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(good["two arms"], spoilt)
    table = pq.read_table(data_file(spoilt))
    left = table.schema.get_field_index("observation.images.left")
    pq.write_table(table.set_column(left, table.schema.field(left), table[FRONT]), data_file(spoilt))
    _, report = examined(capsys, spoilt)
    assert [finding["check"] for finding in serious(report)] == ["different"]


def test_defects_cover_the_table() -> None:
    planted_for = {check for _, _, check, _, _ in DEFECTS.values()} | {"different"}
    assert planted_for == set(CHECKS)


# --- what is asked for ---


def test_the_horizon_is_the_policys(good: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    code, report = examined(capsys, good["joints"], "--set=num_frames=17")
    assert code == 1
    (finding,) = serious(report)
    assert finding["check"] == "episode-lengths" and finding["options"] == ["--policy.num_frames=13"]
    assert "--policy.num_frames=17" in report["command"]  # what the user said stays


def test_a_check_can_be_left_out(good: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    code, report = examined(capsys, good["joints"], "--set=num_frames=17", "--skip=episode-lengths")
    assert (code, serious(report)) == (0, [])
    assert doctor(good["joints"], "--skip=nonsense") == 2
    assert "no such check" in capsys.readouterr().err


def test_report(good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "report"
    assert doctor(good["videos"], "--all", f"--out={out}") == 0
    printed = capsys.readouterr().out
    assert "no problems, no remarks" in printed and "lerobot-train" in printed and "fine" in printed
    assert sorted(path.name for path in out.iterdir()) == ["doctor.html", "doctor.json", "doctor.png"]
    with Image.open(out / "doctor.png") as picture:
        assert picture.width == 1500 and picture.height > 600
        colours = np.asarray(picture).reshape(-1, 3)
    assert len(np.unique(colours[::7], axis=0)) > 500  # cameras and depth in colour
    page = (out / "doctor.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page and 'src="data' in page
    assert json.loads((out / "doctor.json").read_text())["healthy"]


def test_a_share_of_a_large_dataset(good: dict[str, Path]) -> None:
    rows = read_rows(good["joints"], {STATE: 5}, most=60)
    assert rows.count < rows.total and set(rows.episode) == {0}
    now, then = rows.pairs(3)
    assert (rows.frame[then] - rows.frame[now] == 3).all()


def test_a_checkpoint_names_its_cameras(
    good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    camera = PolicyFeature(FeatureType.VISUAL, (3, 32, 40))
    vector = PolicyFeature(FeatureType.STATE, (5,))
    inputs = {"observation.images.top": camera, STATE: vector}
    outputs = {ACTION: PolicyFeature(FeatureType.ACTION, (5,))}
    XWAMConfig(
        preset="small", device="cpu", interface="native", input_features=inputs, output_features=outputs
    )._save_pretrained(tmp_path)
    capsys.readouterr()
    assert main(["doctor", str(good["joints"]), f"--policy={tmp_path}", "--json"]) == 1
    (finding,) = serious(json.loads(capsys.readouterr().out))
    assert finding["check"] == "fits-policy" and "observation.images.top" in finding["what"]


# --- what cannot be read ---


def unreadable(root: Path, name: str) -> Path:
    folder = root / "meta" / "info.json"
    if name == "no dataset":
        shutil.rmtree(root / "meta")
    elif name == "broken json":
        folder.write_text("{")
    elif name == "old format":
        planted.edit_json(root, "info", lambda known: known.update(codebase_version="v2.1"))
    elif name == "broken frames":
        data_file(root).write_bytes(data_file(root).read_bytes()[:2000])
    elif name == "broken episodes":
        (root / "meta/episodes/chunk-000/file-000.parquet").write_bytes(b"PAR1")
    elif name == "no frames":
        shutil.rmtree(root / "data")
    elif name == "missing column":
        table = pq.read_table(data_file(root)).drop_columns(["action"])
        pq.write_table(table, data_file(root))
    return root


@pytest.mark.parametrize(
    ("name", "words"),
    {
        "no dataset": "info.json is missing",
        "broken json": "damaged",
        "old format": "convert_dataset_v21_to_v30",
        "broken frames": "not readable as parquet",
        "broken episodes": "not readable as parquet",
        "no frames": "no frames",
        "missing column": "'action' is missing",
    }.items(),
)
def test_what_cannot_be_read(
    name: str, words: str, good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(good["joints"], tmp_path / "copy")
    assert doctor(unreadable(tmp_path / "copy", name)) == 2
    error = capsys.readouterr().err
    assert words in error and str(tmp_path) in error and "Traceback" not in error


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "nobody/nothing", "a/b/c"])
def test_no_such_dataset(name: str, capsys: pytest.CaptureFixture) -> None:
    assert doctor(name) == 2
    assert f"{name}: no such folder" in capsys.readouterr().err


def test_a_cached_dataset_is_found_by_its_id(good: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    from lerobot.utils.constants import HF_LEROBOT_HOME

    place = HF_LEROBOT_HOME / "somebody" / "joints"
    shutil.copytree(good["joints"], place)
    try:
        assert doctor("somebody/joints") == 0
    finally:
        shutil.rmtree(place)
    assert "--dataset.repo_id=somebody/joints" in capsys.readouterr().out


def test_where_nothing_can_be_written(
    good: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file is no folder")
    assert doctor(good["joints"], f"--out={blocked / 'report'}") == 2
    assert "file" in capsys.readouterr().err
    assert doctor(good["joints"], f"--out={good['joints'] / 'report'}") == 2
    assert "inside of the dataset" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("option", ["--set=nonsense=1", "--frames=0", "--set=num_frames=6"])
def test_bad_options(option: str, good: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    assert doctor(good["joints"], option) == 2
    assert "lerobot-xwam doctor:" in capsys.readouterr().err
