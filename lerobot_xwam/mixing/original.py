"""A dataset as it is before it is mixed, checked to be one that can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset_quantiles import with_quantiles_of_all_frames
from ..data.layout import detect_interface, feature_names
from ..data.missing import PLACEHOLDER
from ..data.mixture import FILE, Statistics
from .recipe import Ingredient

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
KEPT = ("q01", "q99", "min", "max")
INFO = "meta/info.json"
LOCAL_FOLDERS = ("data", "outputs", "datasets")  # where our own commands and recipes put datasets


def refuse_missing(wanted: Sequence[Ingredient]) -> None:
    """All that are not there at once: fetching and converting them takes days each."""
    missing = [f"{each.name}: {why}" for each in wanted if (why := _missing(each.dataset))]
    if missing:
        listed = "\n  ".join(missing)
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} sources are not there:\n  {listed}\nConvert each with "
            "lerobot-xwam convert-dataset, and say in the recipe where it lies"
        )


def _missing(dataset: str) -> str | None:
    folder = Path(dataset).expanduser()
    if (folder / INFO).is_file():
        return None
    if PLACEHOLDER in dataset:
        return f"{dataset!r} is a placeholder to be filled in"
    if folder.is_dir():
        return f"{folder.absolute()} holds no LeRobotDataset (no {INFO})"
    of_the_hub = dataset.count("/") == 1 and not dataset.startswith((".", "/", "~"))
    # A folder's name may look like one of the Hub's: data/droid. Where the first part is a folder, it is one.
    if of_the_hub and not folder.parent.is_dir() and folder.parts[0] not in LOCAL_FOLDERS:
        return None
    return f"{folder.absolute()}: no dataset here"


@dataclass(frozen=True)
class Original:
    wanted: Ingredient
    meta: Any  # LeRobotDatasetMetadata

    @classmethod
    def open(cls, wanted: Ingredient) -> Original:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

        folder = Path(wanted.dataset).expanduser()
        if (folder / INFO).is_file():
            meta = LeRobotDatasetMetadata(f"local/{folder.name}", root=folder)
        else:
            meta = LeRobotDataset(wanted.dataset).meta  # of the Hub, with its videos
        original = cls(wanted, meta)
        original._check()
        return original

    @property
    def name(self) -> str:
        return self.wanted.name

    @property
    def root(self) -> Path:
        return Path(self.meta.root)

    @property
    def state_dim(self) -> int:
        return self.meta.features[STATE]["shape"][0]

    @property
    def action_dim(self) -> int:
        return self.meta.features[ACTION]["shape"][0]

    @cached_property
    def interface(self) -> str:
        vectors = (feature_names(self.meta.features[key]) for key in (STATE, ACTION))
        return detect_interface(*vectors)[0]

    @property
    def cameras(self) -> list[str]:
        """Of colour, sorted by name, which is the order of a policy's views."""
        return sorted(set(self.meta.camera_keys) - set(self.meta.depth_keys))

    def depth_of(self, camera: str) -> str | None:
        key = f"{camera}_depth"
        return key if key in self.meta.depth_keys else None

    @cached_property
    def lengths(self) -> list[int]:
        return [int(length) for length in self.meta.episodes["length"]]

    @property
    def frames(self) -> int:
        return int(self.meta.total_frames)

    def statistics(self) -> Statistics:
        """Of its own vectors, quantiles counted over all its frames."""
        stats = self.meta.stats or {}
        counted = with_quantiles_of_all_frames(stats, self.root, (STATE, ACTION), self.interface)
        return {
            key: {n: np.asarray(counted[key][n]).flatten().tolist() for n in KEPT if n in counted[key]}
            for key in (STATE, ACTION)
        }

    def _check(self) -> None:
        features, where = self.meta.features, f"{self.root} (source {self.name!r})"
        if (self.root / FILE).is_file():
            raise ValueError(f"{where}: is a mixture itself; name its sources instead")
        for key in (STATE, ACTION):
            if key not in features or len(features[key]["shape"]) != 1:
                raise ValueError(
                    f"{where}: has no vector {key!r}; a source of a mixture has states and actions"
                )
        if not self.cameras:
            raise ValueError(f"{where}: has no RGB camera")
        if pictures := self.meta.image_keys:
            raise ValueError(
                f"{where}: {pictures[0]} is kept as single pictures; a mixture links videos. Convert it "
                "with lerobot-edit-dataset --operation.type=convert_image_to_video"
            )
        if sum(self.lengths) != self.frames:
            raise ValueError(
                f"{where}: its episodes have {sum(self.lengths)} frames, its meta/info.json says "
                f"{self.frames}"
            )
