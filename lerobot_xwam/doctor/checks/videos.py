"""Video files: are they there, can this machine decode them, do they hold as many frames as they should?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..findings import Finding, fine, listed, problem, remark
from ..patient import Patient

DECODERS = {"av1": ("libdav1d", "libaom-av1", "av1"), "hevc": ("hevc",), "h264": ("h264",)}


def decoders(patient: Patient) -> Iterator[Finding]:
    """AV1 for colour and HEVC for depth are LeRobot's defaults; not every build of FFmpeg has both."""
    if not patient.folder.videos:
        return
    wanted: dict[str, list[str]] = {}
    for key in patient.folder.videos:
        codec = str((patient.folder.features[key].get("info") or {}).get("video.codec", "unknown"))
        wanted.setdefault(codec, []).append(key)
    missing = {codec: keys for codec, keys in wanted.items() if codec != "unknown" and not can_decode(codec)}
    for codec, keys in missing.items():
        yield problem(
            f"{listed(keys)}: no decoder for {codec!r} on this machine",
            why="training stops at the first frame",
            fix="pip install --upgrade av (its wheels bring AV1 and HEVC), or re-encode a copy of the videos",
        )
    if not missing and not torchcodec_works():
        yield fine(
            f"PyAV decodes {', '.join(sorted(wanted))}; torchcodec, LeRobot's first choice, does not "
            "work here",
            options=("--dataset.video_backend=pyav",),
        )
    elif not missing:
        yield fine(f"{', '.join(sorted(wanted))} can be decoded here")


def video_frames(patient: Patient) -> Iterator[Finding]:
    """As many frames in each file as its episodes need?"""
    from tqdm import tqdm

    folder = patient.folder
    files: dict[tuple[str, Path], float] = {}
    for key in folder.videos:
        ends = folder.episodes.get(f"videos/{key}/to_timestamp")
        if ends is None:
            yield problem(
                f"{key}: the table of episodes does not say where its videos are",
                why="training stops at the first frame",
                fix="write the dataset again with LeRobot 0.4 or later",
            )
            continue
        for row, end in enumerate(ends):
            place = key, folder.video_file(key, row)
            files[place] = max(files.get(place, 0.0), float(end))
    absent: list[str] = []
    short: list[str] = []
    slow: list[str] = []
    for (_, path), end in tqdm(files.items(), desc="videos", unit="file", leave=False, delay=2):
        if not path.is_file():
            absent.append(str(path.relative_to(folder.root)))
            continue
        count, rate = _count(path)
        needed = round(end * folder.fps)
        if rate and abs(rate / folder.fps - 1) > 0.01:
            slow.append(f"{path.relative_to(folder.root)} ({rate:g} fps)")
        elif count and count < needed:
            short.append(f"{path.relative_to(folder.root)} ({count} of {needed} frames)")
    if absent:
        yield problem(
            f"{len(absent)} of {len(files)} video files are missing",
            where=listed(absent, 2),
            why="training stops there",
            fix="download the dataset completely: hf download --repo-type dataset NAME/REPO",
        )
    if short:
        yield problem(
            f"{len(short)} video files have fewer frames than their episodes",
            where=listed(short, 2),
            why="frames were dropped while recording: pictures, depth and actions drift apart, or "
            "training stops",
            fix="drop the last episodes of these files with lerobot-edit-dataset; record with a longer "
            "encoder queue",
        )
    if slow:
        yield remark(
            f"{len(slow)} video files run at another rate than the dataset's {folder.fps:g} fps",
            where=listed(slow, 2),
            why="LeRobot looks frames up by time",
            fix="write the dataset again",
        )
    if files and not (absent or short or slow):
        yield fine(f"{len(files)} video files hold the frames of their episodes")


def can_decode(codec: str) -> bool:
    """By PyAV, with which LeRobot reads depth always and colour on demand."""
    import av.codec

    for name in DECODERS.get(codec, (codec,)):
        try:
            av.codec.Codec(name, "r")
        except Exception:  # PyAV's class of this error has moved between versions
            continue
        return True
    return False


def torchcodec_works() -> bool:
    import importlib

    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError):  # installed without FFmpeg's libraries is a RuntimeError
        return False
    return True


def _count(path: Path) -> tuple[int, float]:
    """-> (frames, frames per second); 0 if the file does not say"""
    import av

    try:
        with av.open(str(path)) as container:
            stream: Any = container.streams.video[0]
            return int(stream.frames), float(stream.average_rate or 0)
    except (OSError, ValueError, IndexError):
        return 0, 0.0  # decoding says what is wrong with it
