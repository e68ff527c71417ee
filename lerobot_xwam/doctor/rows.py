"""The numbers of a dataset, frame by frame: parquet columns, no pictures. Of huge ones an even share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .findings import CannotRead

COUNTERS = ("episode_index", "frame_index", "index", "task_index")
MOST_FRAMES = 1_000_000  # read at most: seconds of work and about 1.5 GB in between

Vector = NDArray[np.float32]  # N D
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    counters: dict[str, Ints]  # each N
    timestamp: NDArray[np.float64]  # N
    raw: dict[str, Vector]  # as stored, with NaN where there is NaN
    block: Ints  # N: changes where frames between two rows were not read
    total: int  # frames in the dataset's files

    @property
    def count(self) -> int:
        return len(self.timestamp)

    @property
    def episode(self) -> Ints:
        return self.counters["episode_index"]

    @property
    def frame(self) -> Ints:
        return self.counters["frame_index"]

    @cached_property
    def piece(self) -> Ints:
        """Rows of equal number follow each other in one episode.  # N"""
        new = (np.diff(self.episode) != 0) | (np.diff(self.block) != 0)
        return np.concatenate([[0], np.cumsum(new)])

    def pairs(self, apart: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows t and t + apart of the same episode."""
        now = np.flatnonzero(self.piece[: max(0, self.count - apart)] == self.piece[apart:])
        return now, now + apart

    def place(self, row: int) -> str:
        return f"episode {self.episode[row]}, frame {self.frame[row]}"

    def vector(self, key: str) -> Vector:
        """With the last good number in the place of NaN, so that each check sees its own defect.  # N D"""
        return self._filled[key]

    @cached_property
    def _filled(self) -> dict[str, Vector]:
        return {key: _fill(values) for key, values in self.raw.items()}


def read_rows(root: Path, widths: dict[str, int], most: int = MOST_FRAMES) -> Rows:
    """widths: vector feature -> its numbers per frame"""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tqdm import tqdm

    columns = [*COUNTERS, "timestamp", *widths]
    sizes = _open_all(root, columns)
    total = sum(map(sum, sizes.values()))
    if not total:
        raise CannotRead(f"{root}: no frames in data/; is the download complete?")
    every = -(-total // most)  # of the groups of rows, which are whole episodes if LeRobot wrote them
    wanted = _every(sizes, every)
    parts: list[dict[str, NDArray[Any]]] = []
    for file, groups in tqdm(wanted.items(), desc="reading", unit="file", leave=False, delay=2):
        try:
            with pq.ParquetFile(file) as table:
                chosen = [table.read_row_groups(part, columns=columns) for part in groups]
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, error) from error
        parts += [{n: _numbers(part.column(n), file, n, widths) for n in columns} for part in chosen]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in columns}
    lengths = [len(part["timestamp"]) for part in parts]
    blocks = np.arange(len(parts)) if every > 1 else np.zeros(len(parts), dtype=np.int64)
    return Rows(
        counters={name: whole[name].astype(np.int64) for name in COUNTERS},
        timestamp=whole["timestamp"].astype(np.float64),
        raw={name: whole[name] for name in widths},
        block=np.repeat(blocks, lengths),
        total=total,
    )


def _open_all(root: Path, columns: list[str]) -> dict[Path, list[int]]:
    """Rows in each group of each file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tqdm import tqdm

    sizes: dict[Path, list[int]] = {}
    files = sorted((root / "data").rglob("*.parquet"))
    for file in tqdm(files, desc="opening", unit="file", leave=False, delay=2):
        try:
            with pq.ParquetFile(file) as table:
                names, known = table.schema_arrow.names, table.metadata
                sizes[file] = [known.row_group(i).num_rows for i in range(known.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, error) from error
        if missing := [name for name in columns if name not in names]:
            raise CannotRead(f"{file}: column {missing[0]!r} is missing, which info.json announces")
    return sizes


def _every(sizes: dict[Path, list[int]], every: int) -> dict[Path, list[list[int]]]:
    """file -> groups to read together: all of a file, or every so-manieth of the dataset for itself."""
    if every == 1:
        return {file: [list(range(len(groups)))] for file, groups in sizes.items() if groups}
    numbered = [(file, number) for file, groups in sizes.items() for number in range(len(groups))][::every]
    wanted: dict[Path, list[list[int]]] = {}
    for file, number in numbered:
        wanted.setdefault(file, []).append([number])
    return wanted


def _numbers(column: Any, file: Path, name: str, widths: dict[str, int]) -> NDArray[Any]:
    import pyarrow as pa

    array = column.combine_chunks()
    if name not in widths:
        return array.to_numpy(zero_copy_only=False)
    if not (pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)):
        return array.to_numpy(zero_copy_only=False).astype(np.float32)[:, None]
    flat = array.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if len(flat) != len(array) * widths[name]:
        raise CannotRead(
            f"{file}: {name} has {len(flat) / max(1, len(array)):.2f} numbers per frame, info.json says "
            f"{widths[name]}"
        )
    return flat.reshape(len(array), widths[name])


def _damaged(file: Path, error: Exception) -> CannotRead:
    return CannotRead(f"{file}: not readable as parquet ({str(error).splitlines()[0]}); get it again")


def _fill(values: Vector) -> Vector:
    bad = ~np.isfinite(values)
    if not bad.any():
        return values
    rows = np.where(bad, 0, np.arange(len(values))[:, None])
    last_good = np.maximum.accumulate(rows, axis=0)
    return np.nan_to_num(np.take_along_axis(values, last_good, axis=0), nan=0.0, posinf=0.0, neginf=0.0)
