"""Reading cached latents by window and variant."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

from .manifest import Manifest
from .shards import Shard, Variant

OPEN_SHARDS = 64  # mapped files kept open; the least recently used is closed first


class LatentStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder)
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __reduce__(self) -> tuple[type[LatentStore], tuple[Path]]:
        """Copied and sent to other processes without its open files."""
        return LatentStore, (self.folder,)

    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        known, folder = self.manifest, self.folder
        return [i for i in range(known.shards) if not known.shard_path(folder, i).is_file()]

    def refuse_incomplete(self) -> None:
        if missing := self.missing():
            raise ValueError(
                f"{self.folder}: {len(missing)} of {self.manifest.shards} shards of this latent cache are "
                "missing. Run the same lerobot-xwam cache-latents command again: it makes what is missing"
            )

    def shard(self, number: int) -> Shard:
        if number not in self._open:
            known = self.manifest
            self._open[number] = Shard(
                known.shard_path(self.folder, number), known.identity, self._shapes(number)
            )
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def read(self, windows: list[int], variants: list[int]) -> Variant:
        """The latents of windows that start at these frames of the dataset, stacked: B ..."""
        found = [self._read(window, variant) for window, variant in zip(windows, variants, strict=True)]
        return {name: torch.stack([each[name] for each in found]) for name in found[0]}

    def _read(self, window: int, variant: int) -> Variant:
        known = self.manifest
        if (position := known.position(window)) is None:
            held = "all" if known.episodes is None else f"only {known.episodes}"
            raise ValueError(
                f"frame {window} of the dataset: its window is not in {self.folder}, which holds {held} "
                f"episodes. Train on these (--dataset.episodes='{known.episodes}'), or cache the others too"
            )
        shard, row = divmod(position, known.per_shard)
        return self.shard(shard).read(row, variant)

    def _shapes(self, number: int) -> dict[str, tuple[int, ...]]:
        known = self.manifest
        lead = (len(known.positions(number)), known.variants)
        shapes = {"video": (*lead, *known.shape), "check": lead}
        if known.depth:
            shapes |= {"depth": (*lead, *known.shape), "valid": (*lead, 1, *known.shape[1:])}
        return shapes
