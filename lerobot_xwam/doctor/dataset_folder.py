"""Where a dataset is on this disk, and what its metadata say. Nothing is downloaded, nothing is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.features import is_depth

from .findings import CannotRead

Columns = dict[str, NDArray[Any]]


def find(dataset: str) -> Path:
    """A folder, or a Hub id that was downloaded before."""
    folder = Path(dataset).expanduser()
    if folder.is_dir():
        return folder
    if dataset.startswith((".", "/", "~")) or dataset.count("/") != 1:
        raise CannotRead(f"{dataset}: no such folder, and no Hub id like NAME/REPO either")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from lerobot.utils.constants import HF_LEROBOT_HOME, HF_LEROBOT_HUB_CACHE

    if (HF_LEROBOT_HOME / dataset / "meta" / "info.json").is_file():
        return HF_LEROBOT_HOME / dataset
    for cache in (HF_LEROBOT_HUB_CACHE, Path(constants.HF_HUB_CACHE)):
        for revision in ("v3.0", "main"):
            try:
                root = snapshot_download(
                    dataset, repo_type="dataset", revision=revision, cache_dir=cache, local_files_only=True
                )
            except (LocalEntryNotFoundError, HFValidationError):
                continue
            if (Path(root) / "meta" / "info.json").is_file():
                return Path(root)
    raise CannotRead(
        f"{dataset}: no such folder, and not among the datasets downloaded before. Download it, e.g. with "
        f"hf download --repo-type dataset {dataset} --local-dir FOLDER, and give the folder"
    )


@dataclass(frozen=True)
class DatasetFolder:
    root: Path
    info: dict[str, Any]
    episodes: Columns  # of meta/episodes, without the statistics of each
    tasks: dict[int, str] | None  # None: no table of tasks
    stats: dict[str, dict[str, NDArray[np.float64]]] | None  # None: no stats.json

    @classmethod
    def read(cls, root: Path) -> DatasetFolder:
        info = _json(root / "meta" / "info.json")
        _check_info(root, info)
        stats = root / "meta" / "stats.json"
        return cls(
            root=root,
            info=info,
            episodes=_episodes(root),
            tasks=_tasks(root),
            stats=_statistics(stats) if stats.is_file() else None,
        )

    @cached_property
    def features(self) -> dict[str, dict[str, Any]]:
        return {key: {**each, "shape": tuple(each["shape"])} for key, each in self.info["features"].items()}

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.episodes["length"].astype(np.int64)

    @cached_property
    def images(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature["dtype"] in ("image", "video")]

    @cached_property
    def videos(self) -> list[str]:
        return [key for key, feature in self.features.items() if feature["dtype"] == "video"]

    @cached_property
    def depths(self) -> list[str]:
        return [key for key in self.images if is_depth(self.features[key])]

    @cached_property
    def cameras(self) -> list[str]:
        """RGB, in the order of the network's views."""
        return sorted(key for key in self.images if key not in self.depths)

    def video_file(self, key: str, row: int) -> Path:
        chunk, file = (int(self.episodes[f"videos/{key}/{part}_index"][row]) for part in ("chunk", "file"))
        pattern = (
            self.info.get("video_path")
            or "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        )
        return self.root / pattern.format(video_key=key, chunk_index=chunk, file_index=file)

    def data_file(self, row: int) -> Path:
        chunk, file = (int(self.episodes[f"data/{part}_index"][row]) for part in ("chunk", "file"))
        pattern = self.info.get("data_path") or "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        return self.root / pattern.format(chunk_index=chunk, file_index=file)


def _check_info(root: Path, info: dict[str, Any]) -> None:
    version = str(info.get("codebase_version", "unknown"))
    if not version.startswith("v3."):
        raise CannotRead(
            f"{root}: LeRobot format {version}, this reads v3.x. Convert it with "
            "python -m lerobot.scripts.convert_dataset_v21_to_v30"
        )
    for name in ("features", "fps"):
        if not info.get(name):
            raise CannotRead(f"{root / 'meta' / 'info.json'}: no {name!r} in it; is it a LeRobotDataset?")
    for key, feature in info["features"].items():
        if not isinstance(feature, dict) or not {"dtype", "shape"} <= feature.keys():
            raise CannotRead(f"{root / 'meta' / 'info.json'}: feature {key!r} has no dtype or no shape")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CannotRead(
            f"{path.parent.parent}: no LeRobotDataset, for {path.parent.name}/{path.name} is missing"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CannotRead(f"{path}: damaged ({error}); download or write it again") from error
    if not isinstance(content, dict):
        raise CannotRead(f"{path}: {type(content).__name__} where an object is wanted")
    return content


def _table(path: Path, columns: list[str] | None = None) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise CannotRead(
            f"{path}: not readable as parquet ({str(error).splitlines()[0]}); get it again"
        ) from error
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _episodes(root: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((root / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        raise CannotRead(f"{root}: no episodes, for meta/episodes has no parquet files")
    parts = []
    for file in files:
        try:
            names = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
        except (pa.ArrowException, OSError) as error:
            raise CannotRead(
                f"{file}: not readable as parquet ({str(error).splitlines()[0]}); get it again"
            ) from error
        parts.append(_table(file, names))
    needed = ("episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index")
    if missing := [name for name in needed if any(name not in part for part in parts)]:
        raise CannotRead(
            f"{files[0]}: column {missing[0]!r} is missing; is it a LeRobotDataset of version 3?"
        )
    common = [name for name in parts[0] if all(name in part for part in parts)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in common}
    if not len(whole["length"]):
        raise CannotRead(f"{root}: a dataset without episodes; record some")
    order = np.argsort(whole["episode_index"], kind="stable")
    return {name: values[order] for name, values in whole.items()}


def _tasks(root: Path) -> dict[int, str] | None:
    path = root / "meta" / "tasks.parquet"
    if not path.is_file():
        return None
    table = _table(path)
    words = next((name for name in ("task", "__index_level_0__") if name in table), None)
    if words is None or "task_index" not in table:
        return None
    return {
        int(index): "" if word is None else str(word)
        for index, word in zip(table["task_index"], table[words], strict=True)
    }


def _statistics(path: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    return {
        key: {name: np.asarray(value, dtype=np.float64) for name, value in each.items()}
        for key, each in _json(path).items()
    }
