"""A few episodes -> a small dataset of their own, there when it is complete and always the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.writing import create_dataset, quiet_encoders
from .filters import FilteredError
from .settings import Settings
from .sources import BadEpisodeError, open_source, read_episode

DATASET, REPORT = "dataset", "report.json"


def shard_folder(partial: Path, index: int) -> Path:
    return partial / "shards" / f"{index:06d}"


def clear_leftovers(partial: Path) -> None:
    """Of runs that were killed while they wrote."""
    for unfinished in (partial / "shards").glob(".*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def write_shard(
    settings: Settings, names: Sequence[str], features: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """-> {"episodes": [...], "dropped": {name: why}, "filtered": {name: filter}, of those dropped}.

    An episode whose video breaks off while it is written is left out by starting the shard anew without it.
    """
    if folder.exists():
        return json.loads((folder / REPORT).read_text(encoding="utf-8"))
    dropped: dict[str, str] = {}
    filtered: dict[str, str] = {}
    while True:
        # Of this process alone: one that is just being killed may still write to its own.
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        written = _write(
            settings, [name for name in names if name not in dropped], features, unfinished, dropped, filtered
        )
        if written is not None:
            break
    report = {"episodes": written, "dropped": dropped, "filtered": filtered}
    (unfinished / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if folder.exists():  # a worker of a run that was killed had come as far, with the same
        shutil.rmtree(unfinished)
    else:
        unfinished.rename(folder)
    return report


def _write(
    settings: Settings,
    names: list[str],
    features: dict[str, Any],
    folder: Path,
    dropped: dict[str, str],
    filtered: dict[str, str],
) -> list[dict[str, Any]] | None:
    """None: an episode broke off half-way; it is in `dropped` now."""
    source, written = open_source(settings), []
    good = []
    for name in names:
        try:
            episode = read_episode(source, name)
            _check_same(episode.features(), features, name)
            good.append(episode)
        except FilteredError as error:
            dropped[name], filtered[name] = str(error), error.reason
        except BadEpisodeError as error:
            _drop(settings, dropped, name, error)
    if not good:
        return []
    with quiet_encoders():
        dataset = create_dataset(
            folder / DATASET,
            "local/shard",
            round(good[0].fps),
            features,
            "xwam",
            max(len(e.states) for e in good),
        )
        try:
            for episode in good:
                wording = episode.instructions[_drawn(episode.name, len(episode.instructions))]
                try:
                    for frame in episode.frames(wording):
                        dataset.add_frame(frame)
                except BadEpisodeError as error:
                    _drop(settings, dropped, episode.name, error)
                    return None
                dataset.save_episode()
                written.append(
                    {
                        "name": episode.name,
                        "frames": len(episode.states),
                        "wordings": list(episode.instructions),
                        **episode.notes,
                    }
                )
        finally:
            dataset.finalize()
    return written


def _drop(settings: Settings, dropped: dict[str, str], name: str, error: BadEpisodeError) -> None:
    if settings.on_bad == "refuse":
        raise error
    dropped[name] = str(error)


def _check_same(found: dict[str, Any], wanted: dict[str, Any], name: str) -> None:
    for key in wanted.keys() | found.keys():
        here, there = (part[key]["shape"] if key in part else "nothing" for part in (found, wanted))
        if here != there:
            raise BadEpisodeError(f"{name}: {key} is {here}, in the dataset's first episode {there}")


def _drawn(name: str, count: int) -> int:
    """Which wording an episode is told with: any, but the same in every run."""
    import zlib

    return zlib.crc32(name.encode()) % count
