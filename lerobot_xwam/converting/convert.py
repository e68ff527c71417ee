"""Converts a dataset, going on where a killed run stopped.

Everything happens in OUT.partial: shards appear one by one, complete; the dataset is merged of them, then
verified and renamed into place. Which episodes make a shard depends on nothing but the source's list, so a
run that was stopped and started again writes the same files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..files import appearing, held
from ..weights.output_folder import refuse_existing, require_space
from .episode import SourceEpisode
from .filters import FilteredError
from .merging import ABOUT, merge
from .recording import Source
from .settings import Settings
from .shards import clear_leftovers, shard_folder, write_shard
from .sources import BadEpisodeError, listed, open_source, read_episode
from .verifying import verify
from .workers import pool

SETTINGS = "settings.json"
BYTES_PER_PIXEL = 1.5  # of a camera, colour and depth together, lossless depth being most of it
TWICE = 2  # shards and the dataset that is merged of them


def convert(settings: Settings, out: Path, workers: int, verified: int = 3) -> dict[str, Any]:
    """Write the dataset `out`; returns its meta/converted.json and, as "verified", how it reads back."""
    if workers < 1 or verified < 0:
        raise ValueError(f"--workers {workers}, --verify {verified}: at least 1, and not negative")
    settings = replace(settings, source=str(Path(settings.source).expanduser().absolute()))
    partial = out.parent / f"{out.name}.partial"
    if (about := _all_but_cleared(out, partial, settings)) is not None:
        return {**about, "verified": {}}
    refuse_existing(out)
    source = open_source(settings)
    names = listed(source)
    first = _first_good(source, names)
    settings = replace(settings, fps=first.source_fps)
    with _opened(partial, settings):
        clear_leftovers(partial)
        _require_room(source, names, first, partial)
        parts = [
            names[i : i + settings.episodes_per_shard]
            for i in range(0, len(names), settings.episodes_per_shard)
        ]
        folders = [shard_folder(partial, i) for i in range(len(parts))]
        _write_shards(settings, parts, first.features(), folders, workers)
        merged = partial / out.name
        shutil.rmtree(merged, ignore_errors=True)  # of a run that was stopped while it merged
        print("merging ...", flush=True)
        about = merge(folders, settings, merged)
        measured = verify(merged, about, settings, verified) if verified else {}
        refuse_existing(out)
        merged.rename(out)
        shutil.rmtree(partial)
    return {**about, "verified": measured}


def _write_shards(
    settings: Settings, parts: list[list[str]], features: dict[str, Any], folders: list[Path], workers: int
) -> None:
    jobs = list(zip(parts, folders, strict=True))
    with tqdm(total=sum(map(len, parts)), desc="converting", unit="episode") as bar:
        if workers == 1:
            for part, folder in jobs:
                write_shard(settings, part, features, folder)
                bar.update(len(part))
            return
        with pool(min(workers, len(jobs))) as processes:
            running = {
                processes.submit(write_shard, settings, part, features, folder): part for part, folder in jobs
            }
            try:
                for done in as_completed(running):
                    done.result()
                    bar.update(len(running[done]))
            except BaseException:
                processes.shutdown(wait=True, cancel_futures=True)
                raise


def _first_good(source: Source, names: list[str]) -> SourceEpisode:
    """What the dataset looks like: the first episode that can be used."""
    said = []
    for name in names:
        try:
            return read_episode(source, name)
        except BadEpisodeError as error:
            if source.settings.on_bad == "refuse" and not isinstance(error, FilteredError):
                raise
            said.append(str(error))
    raise ValueError(f"none of {len(names)} episodes can be used. The first: {said[0]}")


def _require_room(source: Source, names: list[str], first: SourceEpisode, partial: Path) -> None:
    seconds = sum(source.seconds(name) for name in tqdm(names, "estimating", delay=2, leave=False))
    frames = int(seconds * first.fps)
    pixels = frames * len(first.cameras) * first.size[0] * first.size[1]
    size = int(TWICE * BYTES_PER_PIXEL * pixels)
    gigabytes = size / 1e9
    print(f"{len(names)} episodes, {frames} frames: up to {gigabytes:.2f} GB at work, half of it in the end")
    there = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
    require_space({partial: max(size - there, 0)})


def _all_but_cleared(out: Path, partial: Path, settings: Settings) -> dict[str, Any] | None:
    """What a run has finished that was killed when only the folder of its work was left to be removed."""
    report, begun = out / "meta" / ABOUT, partial / SETTINGS
    if not report.is_file() or not begun.is_file():
        return None
    about = json.loads(report.read_text(encoding="utf-8"))
    if about["settings"] != json.loads(begun.read_text(encoding="utf-8")):
        return None
    fps = settings.fps or about["settings"]["fps"]
    if about["settings"] != replace(settings, fps=fps).plain():
        return None
    with held(partial):
        shutil.rmtree(partial)
    return about


@contextmanager
def _opened(partial: Path, settings: Settings) -> Iterator[None]:
    """The folder of unfinished work, held against a second run, with the settings it was begun with."""
    with held(partial):
        file = partial / SETTINGS
        if file.exists():
            settings.same_as(file)
        else:
            with appearing(file) as unfinished:
                unfinished.write_text(json.dumps(settings.plain(), indent=1) + "\n", encoding="utf-8")
        yield
