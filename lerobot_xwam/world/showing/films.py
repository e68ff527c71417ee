"""An exhibition as films: one of everything, one per camera, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lerobot_xwam.pictures import contact_sheet, side_by_side, stack_rows, write_mp4, write_png
from lerobot_xwam.world.footage import Footage

from .depth_scale import NOTHING, DepthScale, Pixels
from .exhibition import Exhibition, file_names, short

MOMENTS = 5  # of the contact sheet
SEEN, IMAGINED, ALL = "seen", "imagined", "all views"


def enlargement(exhibition: Exhibition) -> int:
    """Small networks see few pixels."""
    return min(4, max(1, round(200 / exhibition.futures[0].size[1])))


def depth_scale(exhibition: Exhibition) -> DepthScale:
    """One for all pictures of an exhibition."""
    return DepthScale.of(each.metres for each in exhibition.footages if each.metres is not None)


def write_films(
    folder: Path, exhibition: Exhibition, scale: int, tick: Callable[[], object] = lambda: None
) -> dict[str, Path]:
    """imagined.mp4, imagined.png and views/<camera>.mp4. -> the films by what they show"""
    colours, fps = depth_scale(exhibition), 1 / exhibition.futures[0].seconds
    rows = tiled_rows(exhibition, colours)
    film = stack_rows(rows, scale)
    films = {ALL: folder / "imagined.mp4"}
    write_mp4(films[ALL], _with_bar(film, exhibition, colours), fps)
    tick()
    frames = exhibition.frames
    moments = np.linspace(0, frames - 1, min(frames, MOMENTS)).round().astype(int).tolist()
    sheet = contact_sheet(rows, moments, scale)
    write_png(folder / "imagined.png", _with_bar(sheet[None], exhibition, colours)[0])
    tick()
    for view, name in enumerate(file_names([short(camera) for camera in exhibition.cameras])):
        films[name] = folder / "views" / f"{name}.mp4"
        write_mp4(films[name], view_film(exhibition, view, colours, scale), fps)
        tick()
    return films


def tiled_rows(exhibition: Exhibition, colours: DepthScale) -> dict[str, Pixels]:
    """A row per footage, cameras beside each other, RGB above depth. name -> F H V*W 3"""
    rows, depths = {}, {}
    for footage in exhibition.footages:
        name = _title(exhibition, footage)
        rows[name] = side_by_side(_lasting(footage.rgb, exhibition.frames))
        if footage.metres is not None:
            depth = colours.colours(_lasting(footage.metres, exhibition.frames, np.nan))
            depths[f"depth {name}"] = side_by_side(depth)
    return rows | depths


def view_film(exhibition: Exhibition, view: int, colours: DepthScale, scale: int) -> Pixels:
    """One camera: footages beside each other, RGB above depth. -> F H' W' 3"""
    with_depth = any(each.metres is not None for each in exhibition.footages)
    columns = []
    for footage in exhibition.footages:
        name = _title(exhibition, footage)
        column = {name: _lasting(footage.rgb[[view]], exhibition.frames)[0]}
        if with_depth:
            nothing = np.full(footage.rgb.shape[1:4], np.nan, dtype=np.float32)
            metres = nothing if footage.metres is None else footage.metres[view]
            title = "no depth" if footage.metres is None else f"depth {name}"
            column[title] = colours.colours(_lasting(metres[None], exhibition.frames, np.nan)[0])
        columns.append(stack_rows(column, scale))
    return _with_bar(np.concatenate(columns, axis=2), exhibition, colours)


def _title(exhibition: Exhibition, footage: Footage) -> str:
    if footage is exhibition.truth:
        return SEEN
    return IMAGINED if len(exhibition.futures) == 1 else f"{IMAGINED}: {footage.name}"


def _lasting(values: np.ndarray, frames: int, nothing: float | tuple[int, ...] = NOTHING) -> np.ndarray:
    """V f ... -> V F ...: nothing is known after the end of an episode."""
    if (missing := frames - values.shape[1]) <= 0:
        return values
    rest = np.empty((values.shape[0], missing, *values.shape[2:]), dtype=values.dtype)
    rest[...] = nothing
    return np.concatenate([values, rest], axis=1)


def _with_bar(film: Pixels, exhibition: Exhibition, colours: DepthScale) -> Pixels:
    """The scale of depth below, if there is depth. F H W 3"""
    if all(each.metres is None for each in exhibition.footages):
        return film
    bar = colours.bar(film.shape[2])
    return np.concatenate([film, np.broadcast_to(bar, (len(film), *bar.shape))], axis=1)
