"""The policy's side: is this cache about my dataset, my codec and my settings? Then read from it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..configuration_xwam import XWAMConfig
from ..data.latent_store.bare import original_of
from ..data.latent_store.fingerprint import value_mark
from ..data.latent_store.manifest import DATASET, differences, listed
from ..data.latent_store.store import LatentStore
from ..training.encoding import Encoded
from .identity import codec_parts, dataset_parts, policy_parts, uses_depth, without_depth

logger = logging.getLogger(__name__)


class LatentCache:
    """Latents of the training windows, one of K augmented variants at a time.

    One with depth serves a policy without, too: `depth` says whether the policy wants it.
    """

    def __init__(self, folder: Path, depth: bool) -> None:
        self.store, self.depth = LatentStore(folder), depth

    @classmethod
    def open(cls, config: XWAMConfig, meta: Any) -> LatentCache:
        """Refuse early what was made from something else. `meta` is the training dataset's."""
        cache = cls(Path(config.latent_cache or "").expanduser(), uses_depth(config))
        cache.store.refuse_incomplete()
        cache._refuse_changes(config, meta)
        known = cache.store.manifest
        if known.episodes is not None:
            logger.warning(
                "X-WAM: %s holds only some episodes; train with --dataset.episodes='%s'",
                cache.store.folder,
                known.episodes,
            )
        return cache

    def read(self, windows: Tensor, generators: list[torch.Generator]) -> Encoded:
        """The latents of the windows starting at these frames, each in a variant its generator chooses."""
        return self.read_variants(windows, self.choose(generators))

    def choose(self, generators: list[torch.Generator]) -> list[int]:
        many = self.store.manifest.variants
        return [int(torch.randint(many, (), generator=generator)) for generator in generators]

    def read_variants(self, windows: Tensor, variants: list[int]) -> Encoded:
        held = self.store.read(windows.tolist(), variants)
        if not self.depth:
            return Encoded(held["video"].float())
        return Encoded(held["video"].float(), held["depth"].float(), held["valid"].bool())

    def _refuse_changes(self, config: XWAMConfig, meta: Any) -> None:
        known, folder, root = self.store.manifest, self.store.folder, Path(meta.root)
        images = [*config.cameras, *(config.depth_features if self.depth else [])]
        needed = known.parts if self.depth else without_depth(known.parts)
        dataset = _starting("dataset ", needed)
        changes = list(differences(_settings(needed), policy_parts(config)))
        vae = _starting("VAE ", needed)
        if here := codec_parts(config):
            changes += differences(vae, here)
        elif known.source["codecs"] != [config.codecs, config.codecs_revision]:
            changes.append(f"codecs: were {known.source['codecs'][0]}, are {config.codecs}")
        if not changes:  # other cameras have other videos: said once is enough
            original, where = original_of(root), Path(known.source["root"])
            if original is None:
                changes += differences(dataset, dataset_parts(root, images))
                logger.warning(
                    "X-WAM: latents come from %s, but LeRobot still decodes the dataset's videos. Spare that "
                    "with --dataset.root=%s",
                    folder,
                    folder / DATASET,
                )
            elif original != value_mark(_starting("dataset ", known.parts)):
                changes.append(f"dataset: {root} was made for another cache")
            elif where.is_dir():
                changes += differences(dataset, dataset_parts(where, images))
        if changes:
            raise ValueError(
                f"{folder}: these latents were made from something else:{listed(changes)}\n"
                "Make a cache for these settings with lerobot-xwam cache-latents --out NEW_FOLDER, or "
                "train without one (--policy.latent_cache=null)"
            )


def _settings(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if not name.startswith(("dataset ", "VAE "))}


def _starting(prefix: str, parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if name.startswith(prefix)}
