"""Bad episodes of every layout: dropped and named while the rest survives, or refused, as configured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from spoilt_sources import KINDS, Kind

from lerobot_xwam.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")
CASES = [(kind, bad) for kind in KINDS for bad in KINDS[kind].bad]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filled with two episodes of each layout when they are needed."""
    return tmp_path_factory.mktemp("good")


def source(good: Path, kind: str, count: int, place: Path) -> Path:
    """A copy of `count` good episodes."""
    there = good / f"{kind}{count}"
    if not there.is_dir():
        KINDS[kind].write(there, count)
    shutil.copytree(there, place)
    return place


def convert(kind: Kind, root: Path, out: Path, *more: str) -> int:
    options = [*kind.options, *kind.settle(root), "--workers=1", "--verify=1", *more]
    return main(["convert-dataset", "--source", str(root), "--out", str(out), *options])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "authors" else pytest.mark.slow) for name in KINDS]
)
def test_bad_episodes_are_dropped_and_named_and_the_rest_survives(
    name: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All at once: episode 1 has the first defect, 2 the second; the first and the last are good."""
    kind, out = KINDS[name], tmp_path / "out"
    count = len(kind.bad) + 2
    root = source(good, name, count, tmp_path / "source")
    for index, (spoil, _) in enumerate(kind.bad.values(), start=1):
        spoil(root, index)
    assert convert(kind, root, out, "--shard=4") == 0
    told, printed = json.loads((out / "meta/converted.json").read_text()), capsys.readouterr().out
    for index, (bad, (_, why)) in enumerate(kind.bad.items(), start=1):
        victim = kind.name(index)
        named = [each for each in told["dropped"] if each in (victim, f"{Path(victim).parent}/")]
        assert named, f"{bad}: not among {told['dropped']}"
        assert re.search(why, told["dropped"][named[0]]), f"{bad}: {told['dropped'][named[0]]}"
        assert f"dropped {named[0]}" in printed and told["dropped"][named[0]] in printed
    assert len(told["dropped"]) == len(kind.bad)
    assert [each["name"] for each in told["episodes"]] == [kind.name(0), kind.name(count - 1)]
    dataset = LeRobotDataset("local/rest", root=out, video_backend="pyav")
    assert dataset.num_episodes == 2 and dataset.num_frames == 2 * told["episodes"][0]["frames"]
    assert any(key.endswith("_depth") for key in dataset.features)


@pytest.mark.parametrize(("name", "bad"), CASES)
def test_bad_episodes_are_refused_if_asked(
    name: str, bad: str, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    spoil, why = kind.bad[bad]
    root = source(good, name, 2, tmp_path / "source")
    spoil(root, 1)
    assert convert(kind, root, tmp_path / "out", "--on-bad=refuse") == 1
    error = capsys.readouterr().err
    assert re.search(why, error), error
    # by its name, or by that of its file
    assert any(each in error for each in (kind.name(1), Path(kind.name(1)).stem, "0000001.mp4", "demo1.hdf5"))
    assert not (tmp_path / "out").exists()
