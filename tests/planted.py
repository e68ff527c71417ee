"""Defects for the doctor's tests: each is a small function that spoils a copy of a good dataset."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

STATE, ACTION, FRONT = "observation.state", "action", "observation.images.front"
LEVELS = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}

Columns = dict[str, np.ndarray]
Plant = Callable[[Path], Any]


# --- tools ---


def data_file(root: Path) -> Path:
    return root / "data/chunk-000/file-000.parquet"


def numbers(change: Callable[[Columns], Any], *, statistics: bool = True) -> Plant:
    """Change columns of numbers in place (or put other ones), and write the statistics anew."""

    def plant(root: Path) -> None:
        table = pq.read_table(data_file(root))
        columns = {
            field.name: np.stack(table[field.name].to_numpy()).copy()
            for field in table.schema
            if not pa.types.is_struct(field.type)
        }
        change(columns)
        for name, values in columns.items():
            place = table.schema.get_field_index(name)
            field = table.schema.field(place)
            table = table.set_column(place, field, pa.array(list(values), type=field.type))
        pq.write_table(table, data_file(root))
        if statistics:
            restate(root, columns)

    return plant


def restate(root: Path, columns: Columns) -> None:
    """stats.json as LeRobot has it: quantiles are the mean of the episodes'."""
    episodes = [columns["episode_index"] == i for i in np.unique(columns["episode_index"])]

    def change(stats: dict[str, Any]) -> None:
        for key in (STATE, ACTION):
            values = columns[key]
            each = [np.quantile(values[rows], list(LEVELS.values()), axis=0) for rows in episodes]
            stats[key] |= dict(zip(LEVELS, np.mean(each, axis=0).tolist(), strict=True))
            stats[key] |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}

    edit_json(root, "stats", change)


def edit_json(root: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    file = root / "meta" / f"{name}.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def info(change: Callable[[dict[str, Any]], Any]) -> Plant:
    return lambda root: edit_json(root, "info", change)


def pictures(key: str, change: Callable[[list[Image.Image]], list[Image.Image | bytes]]) -> Plant:
    """Replace a camera's pictures, in the format they have."""

    def plant(root: Path) -> None:
        table = pq.read_table(data_file(root))
        place = table.schema.get_field_index(key)
        old = table[key].to_pylist()
        stored = []
        for row, new in zip(old, change([Image.open(io.BytesIO(row["bytes"])) for row in old]), strict=True):
            memory = io.BytesIO()
            if isinstance(new, Image.Image):
                new.save(memory, format="TIFF" if new.mode == "F" else "PNG")
            stored.append({**row, "bytes": memory.getvalue() if isinstance(new, Image.Image) else new})
        field = table.schema.field(place)
        pq.write_table(table.set_column(place, field, pa.array(stored, type=field.type)), data_file(root))

    return plant


def each(change: Callable[[Image.Image], Image.Image | bytes]) -> Callable[[list[Image.Image]], list[Any]]:
    return lambda old: [change(picture) for picture in old]


def both(*plants: Plant) -> Plant:
    def plant(root: Path) -> None:
        for one in plants:
            one(root)

    return plant


def put(key: str, where: Any, value: Any) -> Callable[[Columns], None]:
    """columns[key][where] = value, or value(what was there)"""

    def change(columns: Columns) -> None:
        old = columns[key][where]
        columns[key][where] = value(old) if callable(value) else value

    return change


def all_of(*changes: Callable[[Columns], Any]) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        for one in changes:
            one(columns)

    return change


def delayed(key: str, frames: int) -> Callable[[Columns], None]:
    """This column comes so many frames later (or earlier) than it should, in each episode."""

    def change(columns: Columns) -> None:
        for episode in np.unique(columns["episode_index"]):
            rows = np.flatnonzero(columns["episode_index"] == episode)
            columns[key][rows] = columns[key][rows[np.clip(np.arange(len(rows)) - frames, 0, len(rows) - 1)]]

    return change


def tasks(words: list[str] | None) -> Plant:
    """None: the numbers of the tasks are other ones."""

    def plant(root: Path) -> None:
        file = root / "meta/tasks.parquet"
        table = pq.read_table(file)
        place = table.schema.get_field_index("task_index" if words is None else "task")
        new = [i + 7 for i in range(len(table))] if words is None else (words * len(table))[: len(table)]
        field = table.schema.field(place)
        pq.write_table(table.set_column(place, field, pa.array(new, type=field.type)), file)

    return plant


# --- defects that need more than a line ---


def every(step: slice) -> tuple[slice, slice]:
    return slice(None), step


def absolute_actions(columns: Columns) -> None:
    delayed(STATE, -1)(late := {**columns, STATE: columns[STATE].copy()})
    columns[ACTION][:, :3] = late[STATE][:, :3]


def repeated(columns: Columns) -> None:
    columns[STATE] = columns[STATE][np.arange(len(columns[STATE])) // 2 * 2]
    columns[STATE][columns["frame_index"] == 0] = columns[STATE][columns["frame_index"] == 1]


def wrapped(columns: Columns) -> None:
    """The zero of the base's angle lies within its work."""
    for episode in (0, 1):
        rows = columns["episode_index"] == episode
        middle = (columns[STATE][rows, 0].min() + columns[STATE][rows, 0].max()) / 2
        for key in (STATE, ACTION):
            columns[key][rows & (columns[key][:, 0] > middle), 0] -= 2 * np.pi


def broken_off(root: Path) -> None:
    """The last episode ends after fourteen frames."""
    table = pq.read_table(data_file(root))
    rows = (table["episode_index"].to_numpy() == 0) | (table["frame_index"].to_numpy() < 14)
    pq.write_table(table.filter(pa.array(rows)), data_file(root))
    file = root / "meta/episodes/chunk-000/file-000.parquet"
    content = pq.read_table(file).to_pydict()
    assert len(content["length"]) == 2
    content["length"][1], content["dataset_to_index"][1] = 14, content["dataset_to_index"][0] + 14
    pq.write_table(pa.table(content), file)
    info(lambda known: known.update(total_frames=int(rows.sum())))(root)
    columns = {key: np.stack(table[key].to_numpy())[rows] for key in (STATE, ACTION, "episode_index")}
    restate(root, columns)


def renamed_camera(root: Path) -> None:
    """A coloured picture under the name of a depth."""
    table = pq.read_table(data_file(root))
    new = f"{FRONT}_depth"
    names = [new if name == FRONT else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), data_file(root))
    info(lambda known: known["features"].update({new: known["features"].pop(FRONT)}))(root)


def wide(root: Path) -> None:
    pictures(FRONT, each(lambda picture: picture.resize((64, 20))))(root)
    info(lambda known: known["features"][FRONT].update(shape=[20, 64, 3]))(root)


def square_depth(root: Path) -> None:
    key = f"{FRONT}_depth"
    pictures(key, each(lambda picture: picture.crop((4, 0, 36, 32))))(root)
    info(lambda known: known["features"][key].update(shape=[32, 32, 1]))(root)


def shorter_video(root: Path) -> None:
    """The recording's last frames were dropped."""
    import av

    file = root / "videos" / FRONT / "chunk-000/file-000.mp4"
    kept = file.with_name("kept.mp4")
    with av.open(str(file)) as source, av.open(str(kept), mode="w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        for packet in packets[:-4]:
            packet.stream = stream
            target.mux(packet)
    kept.replace(file)
