"""Adds depth to a dataset, going on where a killed run stopped.

Everything happens in OUT.partial: episodes appear one by one, complete; at the end the new dataset is made of
them and the old one's files, read back, and renamed to OUT. The old dataset is only read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.writing import quiet_encoders
from ..estimating.alignment import Fit
from ..estimating.estimator import Estimator
from ..files import appearing, held, saying_what_is_kept
from ..weights.output_folder import refuse_existing, require_space
from .anchors import possible
from .assembling import assemble, others
from .episode import FOUND, UNKNOWN, Labeller, NoScaleError, middle_fit, remove_leftovers
from .settings import Settings
from .source import Source

SETTINGS = "settings.json"
BYTES_PER_PIXEL = 1.2  # of depth, 12 bits without loss
TWICE = 2  # episodes, and the dataset that is made of them
HOPELESS = 3  # so many episodes of a camera without a scale, and none with: the others will have none
VERIFIED = 3  # episodes of every camera
OWN_METRES = "the estimator's own metres"


def add_depth(
    settings: Settings, source: Source, estimator: Estimator, out: Path, hard_links: bool = False
) -> dict[str, Any]:
    """Write the dataset `out`; returns what meta/labelled.json says of this run."""
    refuse_existing(out)
    if out.absolute().is_relative_to(source.root.absolute()):
        raise ValueError(f"--out {out}: inside of the dataset that is read; choose a place beside it")
    refuse_what_cannot_be(settings, source)
    partial = out.parent / f"{out.name}.partial"
    keeping = saying_what_is_kept(out, lambda: _kept(partial))
    with _opened(partial, settings), keeping, quiet_encoders():
        work = Labeller(settings, source, estimator, partial / "episodes")
        work.folder.mkdir(exist_ok=True)
        remove_leftovers(work.folder)
        _require_room(work, partial, hard_links)
        _label_all(work)
        unfinished = partial / "dataset"
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped while it wrote it
        about = assemble(work, unfinished, hard_links)
        verify(work, unfinished)
        refuse_existing(out)
        os.rename(unfinished, out)
        shutil.rmtree(partial)
    return about


def refuse_what_cannot_be(settings: Settings, source: Source) -> None:
    """Before an estimator is loaded or a frame is read."""
    if not float(source.fps).is_integer():
        raise ValueError(f"{source.root}: {source.fps} frames per second; depth videos need a whole number")
    for camera in settings.cameras:
        if camera not in source.folder.cameras:
            names = ", ".join(source.folder.cameras) or "no RGB camera at all"
            raise ValueError(f"--cameras {camera}: {source.root} has {names}")
        depth = source.depth_of(camera)
        if depth is None and f"{camera}_depth" in source.folder.features:
            raise ValueError(f"{camera}_depth exists already, but is not marked as depth; remove it first")
        if depth and not settings.fill_gaps:
            raise ValueError(
                f"{camera} has depth already ({depth}). Leave it out with --cameras, or keep its readings "
                "and estimate only what they lack: --fill-gaps"
            )
        if depth and source.size(depth) != source.size(camera):
            raise ValueError(
                f"--fill-gaps: {depth} is {source.size(depth)}, {camera} {source.size(camera)}: both must be "
                "of the same size"
            )
        tells = possible(source, camera) if settings.align == "auto" else []
        if settings.given is None and settings.kind != "metric" and not tells:
            raise ValueError(
                f"{camera}: the estimator gives {settings.kind!r} depth without a unit, and nothing in the "
                f"dataset tells metres (neither depth readings nor {'/'.join(_matrices(camera))}"
                f"{', or --align none hides them' if settings.align == 'none' else ''}). Use a metric "
                "estimator (Depth Anything's Metric models), record camera matrices, or say "
                "the scale: --scale FACTOR [OFFSET]"
            )


def _label_all(work: Labeller) -> None:
    lengths, cameras = work.source.lengths, work.settings.cameras
    done = sum(
        lengths[episode]
        for camera in cameras
        for episode in range(len(lengths))
        if work.place(camera, episode, FOUND).is_file()
    )
    total = len(cameras) * sum(lengths)
    with tqdm(total=total, initial=done, desc="estimating depth", unit="frame") as bar:
        for camera in cameras:
            bar.set_postfix_str(camera.rpartition(".")[2])
            _label_camera(work, camera, bar)


def _label_camera(work: Labeller, camera: str, bar: Any) -> None:
    """First all episodes that tell their own scale, then the others by the scale of those."""
    settings, episodes = work.settings, range(len(work.source.lengths))
    own_metres = (Fit(1.0), OWN_METRES) if settings.kind == "metric" else None
    nothing_tells = settings.align == "none" or not possible(work.source, camera)
    for episode in episodes:
        if any(work.place(camera, episode, suffix).is_file() for suffix in (FOUND, UNKNOWN)):
            continue
        try:
            work.label(camera, episode, own_metres if nothing_tells else None, bar.update)
        except NoScaleError as error:
            bar.update(-work.source.lengths[episode])
            with appearing(work.place(camera, episode, UNKNOWN)) as path:
                path.write_text(str(error), encoding="utf-8")
        if own_metres is None and not settings.given:
            _give_up_if_hopeless(work, camera)
    left = [i for i in episodes if not work.place(camera, i, FOUND).is_file()]
    if not left:
        return
    reports = [json.loads(path.read_text()) for path in sorted((work.folder / camera).glob(f"*{FOUND}"))]
    own = [report for report in reports if "because" not in report]
    if own:
        fallback = middle_fit(own), f"the middle of {len(own)} other episodes"
    elif own_metres:
        fallback = own_metres
    else:
        raise ValueError(_no_scale(work, camera, left))
    for episode in left:
        work.label(camera, episode, fallback, bar.update)


def _give_up_if_hopeless(work: Labeller, camera: str) -> None:
    folder = work.folder / camera
    unknown = sorted(folder.glob(f"*{UNKNOWN}"))
    if len(unknown) >= HOPELESS and not any(folder.glob(f"*{FOUND}")):
        raise ValueError(_no_scale(work, camera, [int(path.stem) for path in unknown]))


def _no_scale(work: Labeller, camera: str, episodes: list[int]) -> str:
    why = work.place(camera, episodes[0], UNKNOWN).read_text(encoding="utf-8")
    return (
        f"{camera}: {len(episodes)} episodes and none tells its scale (episode {episodes[0]}: {why}). Check "
        "the camera matrices (lerobot-xwam doctor, evaluate-4d), use a metric estimator, or say the scale: "
        f"--scale FACTOR [OFFSET]. Remove {work.folder.parent} before you try other settings"
    )


def verify(work: Labeller, root: Path) -> None:
    """Read a sample back through LeRobot: every frame must be the one that was staged."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    written = LeRobotDataset("local/labelled", root=root, video_backend="pyav", depth_output_unit="m")
    staged = Source.open(root)
    count = len(staged.lengths)
    if [count, written.num_frames] != [len(work.source.lengths), sum(work.source.lengths)]:
        raise ValueError(f"{root}: reads back as {count} episodes, {written.num_frames} frames")
    for episode in np.unique(np.linspace(0, count - 1, min(VERIFIED, count)).astype(int)):
        first = int(staged.folder.episodes["dataset_from_index"][episode])
        for frame in {0, staged.lengths[episode] - 1}:
            item = written[first + frame]
            for camera in work.settings.cameras:
                key = f"{camera}_depth"
                wanted = work.staged_frame(camera, int(episode), frame)
                if not np.array_equal(item[key].numpy().reshape(wanted.shape), wanted):
                    raise ValueError(
                        f"{key}, episode {episode}, frame {frame}: reads back as something else than was "
                        "written. The dataset was not put in place"
                    )


def _require_room(work: Labeller, partial: Path, hard_links: bool) -> None:
    """Says how much disk it takes; refuses if there is not so much."""
    source, cameras = work.source, work.settings.cameras
    pixels = [height * width for height, width in map(source.size, cameras)]
    depth = BYTES_PER_PIXEL * sum(source.lengths) * sum(pixels)
    working = 4 * max(source.lengths) * max(pixels)
    copied = sum(
        path.stat().st_size
        for path in others(source.folder, [])
        if not (hard_links and path.suffix == ".mp4")
    )
    at_work = TWICE * depth + working + copied
    there = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    print(
        f"{len(source.lengths)} episodes, {sum(source.lengths)} frames, {len(cameras)} cameras: up to "
        f"{at_work / 1e9:.2f} GB at work, {(depth + copied) / 1e9:.2f} GB in the end"
    )
    require_space({partial: max(int(at_work) - there, 0)})


@contextmanager
def _opened(partial: Path, settings: Settings) -> Iterator[None]:
    """The folder of unfinished work, held against a second run, with the settings it was begun with."""
    with held(partial):
        file = partial / SETTINGS
        if file.is_file():
            settings.same_as(file)
        elif any(not path.name.startswith(".") for path in partial.iterdir()):
            raise FileExistsError(f"{partial}: a folder with other things in it; choose another with --out")
        else:
            with appearing(file) as path:
                path.write_text(json.dumps(settings.plain(), indent=1) + "\n", encoding="utf-8")
        yield


def _kept(partial: Path) -> str:
    count = len(list((partial / "episodes").glob(f"*/*{FOUND}")))
    return f"{count} episodes of depth are kept in {partial}"


def _matrices(camera: str) -> tuple[str, str]:
    name = camera.removeprefix("observation.images.")
    return f"observation.camera.{name}.intrinsics", "extrinsics"
