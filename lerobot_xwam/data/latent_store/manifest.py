"""What a folder of cached latents says of itself: made from what, for which windows, in which shards."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

from ...files import appearing
from .fingerprint import value_mark

FORMAT = 1
FILE = "manifest.json"
DATASET = "dataset"  # subfolder: the dataset without its frames
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Manifest:
    parts: dict[str, Any]  # what the latents depend on, by names a person understands
    variants: int  # augmented versions of each window
    seed: int  # of the augmentation
    dtype: str  # of the stored latents
    ranges: list[list[int]]  # cached windows: [first, end) of absolute frame indices, sorted
    episodes: list[int] | None  # which these are; None: all of the dataset
    per_shard: int  # windows in a shard
    shape: list[int]  # of one window's latents: C T V h w
    depth: bool
    camera_features: dict[str, Any]  # the dataset's own description of its images
    source: dict[str, Any]  # for the reader: where the dataset and the codec lay
    format: int = FORMAT

    @cached_property
    def identity(self) -> str:
        """Ties shards to this manifest."""
        described = {k: v for k, v in asdict(self).items() if k not in ("source", "camera_features")}
        return value_mark(described)

    @cached_property
    def windows(self) -> int:
        return sum(end - first for first, end in self.ranges)

    @property
    def shards(self) -> int:
        return -(-self.windows // self.per_shard)

    def shard_path(self, folder: Path, shard: int) -> Path:
        return folder / f"latents-{shard:06d}.safetensors"

    def positions(self, shard: int) -> range:
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.windows))

    def indices(self, shard: int) -> list[int]:
        """Absolute frame indices of a shard's windows."""
        return [self._index(position) for position in self.positions(shard)]

    def position(self, index: int) -> int | None:
        """Where the window that starts at this frame of the dataset is stored; None: it is not."""
        i = bisect_right(self.ranges, index, key=lambda each: each[0]) - 1
        if i < 0 or index >= self.ranges[i][1]:
            return None
        return self._starts[i] + index - self.ranges[i][0]

    def shard_bytes(self, shard: int) -> int:
        """Size of a shard's tensors in its file."""
        count = len(self.positions(shard)) * self.variants
        latents = prod(self.shape) * BYTES[self.dtype] * (2 if self.depth else 1)
        mask = prod(self.shape[1:]) if self.depth else 0
        return count * (latents + mask + 8)

    def save(self, folder: Path) -> None:
        with appearing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder.absolute()}: no latent cache here (no {FILE}). Make one with "
                f"lerobot-xwam cache-latents --out {folder}, or train without (--policy.latent_cache=null)"
            )
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            version = held["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not readable as a manifest ({error}); make the cache anew") from error
        if version != FORMAT:
            raise ValueError(
                f"{path}: format {version}, this version reads {FORMAT}. Make the cache anew "
                "with lerobot-xwam cache-latents, or use the version that wrote it"
            )
        if lost := {field.name for field in fields(cls)} ^ held.keys():
            raise ValueError(f"{path}: {', '.join(sorted(lost))} missing or unknown; make the cache anew")
        return cls(**held)

    @cached_property
    def _starts(self) -> list[int]:
        """Position of each range's first window."""
        return [0, *accumulate(end - first for first, end in self.ranges)]

    def _index(self, position: int) -> int:
        i = bisect_right(self._starts, position) - 1
        return self.ranges[i][0] + position - self._starts[i]


def differences(stored: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """In words, what changed between two descriptions."""
    for name in [*stored, *(now.keys() - stored.keys())]:
        if name not in now:
            yield f"{name}: is gone"
        elif name not in stored:
            yield f"{name}: is new"
        elif stored[name] != now[name]:
            yield f"{name}: was {stored[name]}, is {now[name]}"


def listed(changes: list[str], shown: int = 8) -> str:
    """The first differences, a line each, and how many more there are."""
    more = [f"... and {len(changes) - shown} more"] if len(changes) > shown else []
    return "\n  ".join(["", *changes[:shown], *more])
