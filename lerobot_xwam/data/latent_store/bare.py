"""A LeRobotDataset without its cameras: states, actions, tasks and episodes, frame for frame the original's.

LeRobot 0.6.1 decodes every camera that a dataset declares, whether a policy wants it or not. With cached
latents nobody looks at the frames, so training reads this copy instead (`--dataset.root=CACHE/dataset`).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from .fingerprint import file_mark, value_mark

MARK = "meta/xwam_latents.json"  # whose frames were left out


def write_bare_dataset(root: Path, target: Path, cameras: list[str], parts: dict[str, Any]) -> None:
    """Copy `root` without `cameras`. `parts`: what the original is, for later comparison."""
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for source in sorted(_files(root)):
        place = partial / source.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".parquet" and source.is_relative_to(root / "data"):
            _copy_without_columns(source, place, cameras)
        else:
            shutil.copy(source, place)
    info = json.loads((root / "meta/info.json").read_text(encoding="utf-8"))
    info["features"] = {key: value for key, value in info["features"].items() if key not in cameras}
    info["video_path"] = None
    (partial / "meta/info.json").write_text(json.dumps(info, indent=4), encoding="utf-8")
    marks = {path.relative_to(partial).as_posix(): file_mark(path) for path in sorted(_files(partial))}
    mark = {"original": value_mark(parts), "files": marks}
    (partial / MARK).write_text(json.dumps(mark, indent=1), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.rename(partial, target)


def original_of(root: Path) -> str | None:
    """The mark of the dataset that a bare one was made from; None: `root` is no bare dataset."""
    if not (root / MARK).is_file():
        return None
    held = json.loads((root / MARK).read_text(encoding="utf-8"))
    for name, mark in held["files"].items():
        if not (root / name).is_file() or file_mark(root / name) != mark:
            raise ValueError(
                f"{root / name}: changed since the latents were cached. Remove {root} and run the same "
                "lerobot-xwam cache-latents command again"
            )
    return held["original"]


def bare_bytes(root: Path, cameras: list[str]) -> int:
    """What the copy will take."""
    return sum(_bytes_without_columns(path, cameras) for path in _files(root))


def _files(root: Path) -> list[Path]:
    """Everything but the videos and what is hidden."""
    found = [root / "README.md", *(root / "meta").rglob("*"), *(root / "data").rglob("*.parquet")]
    return [path for path in found if path.is_file() and path != root / MARK]


def _bytes_without_columns(path: Path, columns: list[str]) -> int:
    import pyarrow.parquet as pq

    size = path.stat().st_size
    if path.suffix != ".parquet":
        return size
    held = pq.read_metadata(path)
    groups = (held.row_group(i) for i in range(held.num_row_groups))
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    return size - sum(c.total_compressed_size for c in chunks if _is_in(c.path_in_schema, columns))


def _is_in(path: str, columns: list[str]) -> bool:
    """`observation.images.front.bytes` is a part of the column `observation.images.front`."""
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _copy_without_columns(source: Path, place: Path, columns: list[str]) -> None:
    """Images can lie in the parquet files themselves."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        kept = [name for name in file.schema_arrow.names if name not in columns]
        if len(kept) == len(file.schema_arrow.names):
            shutil.copy(source, place)
            return
        schema = file.read_row_group(0, columns=kept).schema.remove_metadata()  # it names the images too
        with pq.ParquetWriter(place, schema) as writer:
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group, columns=kept).replace_schema_metadata())
