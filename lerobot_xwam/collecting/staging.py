"""Finished episodes on disk, each in a file of its own, until all are there.

OUT.partial/settings.json
OUT.partial/episodes/lift-12.npz     an episode of seed 12
OUT.partial/episodes/lift-14.failed  the expert failed on seed 14
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.collecting.episode import Episode
from lerobot_xwam.files import appearing

FAST = 1  # deflate level: the best of a few percent costs five times the time
KEPT, FAILED = ".npz", ".failed"
PLAIN, PLANES = ".npy", ".planes"  # arrays in the archive; floats are stored as planes of bytes


def episode_path(folder: Path, task: str, seed: int) -> Path:
    """Where an episode is kept."""
    return folder / f"{task}-{seed}{KEPT}"


def write_episode(folder: Path, episode: Episode) -> None:
    """Its file appears when it is complete."""
    about = json.dumps(
        {
            "task": episode.task,
            "seed": episode.seed,
            "instruction": episode.instruction,
            "disturbed": episode.disturbed,
        }
    )
    with (
        appearing(episode_path(folder, episode.task, episode.seed)) as path,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=FAST) as archive,
    ):
        archive.writestr("about.json", about)
        for key, value in episode.arrays.items():
            floats = value.dtype == np.float32
            with archive.open(f"{key}{PLANES if floats else PLAIN}", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _planes(value) if floats else value, allow_pickle=False)


def write_failure(folder: Path, task: str, seed: int) -> None:
    """So that a resumed run does not try it again."""
    (folder / f"{task}-{seed}{FAILED}").touch()


def read_episode(folder: Path, task: str, seed: int) -> Episode:
    """What `write_episode` wrote; zip's check sums tell a damaged file."""
    path = episode_path(folder, task, seed)
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("about.json"))
            arrays: dict[str, NDArray[Any]] = {}
            for name in archive.namelist():
                if name.endswith((PLAIN, PLANES)):
                    content = io.BytesIO(
                        archive.read(name)
                    )  # whole: only at the end is the check sum compared
                    value = np.lib.format.read_array(content, allow_pickle=False)
                    key = name.removesuffix(PLAIN).removesuffix(PLANES)
                    arrays[key] = _from_planes(value) if name.endswith(PLANES) else value
        return Episode(**about, arrays=arrays)
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(
            f"{path}: damaged ({error}); remove it and run the same command again, it is made anew"
        ) from error


def staged(folder: Path, task: str) -> tuple[set[int], set[int]]:
    """Seeds of this task that succeeded, and that failed."""
    found: tuple[set[int], set[int]] = (set(), set())
    for seeds, suffix in zip(found, (KEPT, FAILED), strict=True):
        for path in folder.glob(f"{task}-*{suffix}"):
            seeds.add(int(path.stem.removeprefix(f"{task}-")))
    return found


def _planes(values: NDArray[Any]) -> NDArray[Any]:
    """The bytes of floats, sorted by significance: so they compress to half as much.  # ... -> ... 4 first"""
    split = np.ascontiguousarray(values)[..., None].view(np.uint8)
    return np.ascontiguousarray(np.moveaxis(split, -1, 0))


def _from_planes(planes: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(np.float32)[..., 0]
