"""Filling a cache: window after window, shard after shard, going on where a killed run stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..codecs.video import VideoCodec
from ..configuration_xwam import XWAMConfig
from ..data.batch import DEPTH, VIDEO
from ..data.latent_store.bare import bare_bytes, original_of, write_bare_dataset
from ..data.latent_store.fingerprint import value_mark
from ..data.latent_store.manifest import DATASET, FILE, Manifest, differences, listed
from ..data.latent_store.shards import DTYPES, Variant, write_shard
from ..data.latent_store.store import LatentStore
from ..files import held
from ..training.encoding import encode_augmented
from ..training.randomness import variant_generators
from ..weights.output_folder import require_space
from .identity import codec_parts, dataset_parts, policy_parts, uses_depth

SHARD_BYTES = 128 * 2**20
SHARD_WINDOWS = 64  # at most: a killed run loses less than so many
TOGETHER = 4  # windows in the encoder at once: small pictures then take a third of the time each


def plan_cache(
    config: XWAMConfig,
    meta: Any,
    *,
    variants: int,
    seed: int,
    dtype: str,
    episodes: list[int] | None = None,
) -> Manifest:
    """Every window that LeRobot's sampler can draw from these episodes: each of their frames starts one."""
    known = range(meta.total_episodes)
    if strange := sorted(set(episodes or ()) - set(known)):
        raise ValueError(f"--episodes {strange}: the dataset has 0 to {meta.total_episodes - 1}")
    chosen = sorted(set(known if episodes is None else episodes))
    ranges: list[list[int]] = []
    for episode in chosen:
        first = int(meta.episodes["dataset_from_index"][episode])
        end = int(meta.episodes["dataset_to_index"][episode])
        if ranges and ranges[-1][1] == first:
            ranges[-1][1] = end
        else:
            ranges.append([first, end])
    depth = config.depth_features if uses_depth(config) else []
    images = [*config.cameras, *depth]
    cell = config.vae_stride
    shape = [config.latent_channels, config.latent_frames, len(config.cameras)]
    shape += [config.height // cell, config.width // cell]
    plan = Manifest(
        parts={
            **policy_parts(config),
            **codec_parts(config),
            **dataset_parts(Path(meta.root), images),
        },
        variants=variants,
        seed=seed,
        dtype=dtype,
        ranges=ranges,
        episodes=None if chosen == list(known) else chosen,
        per_shard=1,
        shape=shape,
        depth=bool(depth),
        camera_features={key: _jsonable(meta.features[key]) for key in meta.camera_keys},
        source={
            "repo_id": meta.repo_id,
            "revision": meta.revision,
            "root": str(Path(meta.root).absolute()),
            "codecs": [config.codecs, config.codecs_revision],
        },
    )
    many = max(1, min(SHARD_WINDOWS, SHARD_BYTES // plan.shard_bytes(0)))
    return replace(plan, per_shard=many)


def require_room(plan: Manifest, folder: Path) -> int:
    """Bytes still to be written; refuses if the disk has not enough."""
    todo = sum(plan.shard_bytes(i) for i in range(plan.shards) if not plan.shard_path(folder, i).is_file())
    if not (folder / DATASET).is_dir():
        todo += bare_bytes(Path(plan.source["root"]), list(plan.camera_features))
    require_space({folder: todo})
    return todo


@contextmanager
def opened_for_writing(plan: Manifest, folder: Path) -> Iterator[LatentStore]:
    """The cache at `folder`: a new one, or one that a killed run left and that is about the same things."""
    strange = folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    if strange and not (folder / FILE).is_file():
        raise FileExistsError(f"{folder}: a folder with other things in it; choose another with --out")
    with held(folder):
        if (folder / FILE).is_file():
            _refuse_another(Manifest.read(folder), plan, folder)
        for left in (*folder.glob(".latents-*"), *folder.glob(f".{FILE}.*")):
            left.unlink()  # half a shard of a killed run
        plan.save(folder)
        cameras = list(plan.camera_features)
        parts = {name: mark for name, mark in plan.parts.items() if name.startswith("dataset ")}
        if not (folder / DATASET).is_dir() or original_of(folder / DATASET) != value_mark(parts):
            write_bare_dataset(Path(plan.source["root"]), folder / DATASET, cameras, parts)
        yield LatentStore(folder)


def fill(
    store: LatentStore,
    windows: Iterable[dict[str, Any]],
    config: XWAMConfig,
    codec: VideoCodec,
    missing: list[int],
) -> None:
    """Write the missing shards. `windows`: the packed batches of one window each, in the shards' order.

    The bar counts what is stored: nothing it has reported is lost by a kill.
    """
    known = store.manifest
    total = known.windows
    todo = sum(len(known.positions(shard)) for shard in missing)
    upcoming = iter(windows)
    with tqdm(total=total, initial=total - todo, desc="caching latents", unit="window") as bar:
        for shard in missing:
            content: list[list[Variant]] = []
            for indices in batched(known.indices(shard), TOGETHER):
                batches = [_expected(next(upcoming), index) for index in indices]
                bar.set_postfix_str(f"shard {shard + 1} of {known.shards}, window {indices[-1]}")
                content += encode_windows(batches, config, codec, known)
            write_shard(known.shard_path(store.folder, shard), known.identity, content)
            bar.update(len(content))


def _expected(batch: dict[str, Any], index: int) -> dict[str, Any]:
    if (got := int(batch["index"])) != index:
        raise ValueError(f"the dataset gave frame {got} where {index} was wanted; it changed")
    return batch


def encode_windows(
    batches: list[dict[str, Any]], config: XWAMConfig, codec: VideoCodec, plan: Manifest
) -> list[list[Variant]]:
    """All variants of a few windows (batches of one), as they are stored."""
    rgb = torch.cat([batch[VIDEO] for batch in batches])  # B V F 3 H W
    depth = torch.cat([batch[DEPTH] for batch in batches]) if plan.depth else None  # B V F 2 H W
    indices = [int(batch["index"]) for batch in batches]
    how, dtype = config.augmentation, DTYPES[plan.dtype]
    found: list[list[Variant]] = [[] for _ in batches]
    for variant in range(plan.variants):
        generators = variant_generators(indices, [variant] * len(indices), plan.seed)
        encoded = encode_augmented(codec, rgb, depth, how, generators)
        if list(encoded.video.shape[1:]) != plan.shape:
            raise ValueError(
                f"the VAE made latents of {list(encoded.video.shape[1:])}, the configuration expects "
                f"{plan.shape} (latent_channels and vae_stride must be the codec's)"
            )
        for row, variants in enumerate(found):
            stored = {"video": encoded.video[row].to("cpu", dtype).contiguous()}
            if encoded.depth is not None and encoded.valid is not None:
                stored["depth"] = encoded.depth[row].to("cpu", dtype).contiguous()
                stored["valid"] = encoded.valid[row].to("cpu", torch.uint8).contiguous()
            variants.append(stored)
    return found


def drop_damaged(store: LatentStore, thorough: bool) -> list[str]:
    """Remove shards that cannot be opened, or (thorough) fail their check sums: they are made again."""
    gone = []
    known = store.manifest
    for number in sorted(set(range(known.shards)) - set(store.missing())):
        try:
            shard = store.shard(number)
            if thorough:
                shard.verify(len(known.positions(number)), known.variants)
        except ValueError as error:
            known.shard_path(store.folder, number).unlink()
            gone.append(str(error))
    return gone


def _refuse_another(there: Manifest, plan: Manifest, folder: Path) -> None:
    changes = list(differences(there.parts, plan.parts))
    for name in ("variants", "seed", "dtype", "episodes"):
        if (old := getattr(there, name)) != (new := getattr(plan, name)):
            changes.append(f"{name}: was {old}, is {new}")
    if there.identity != plan.identity and not changes:
        changes.append("the layout of its shards")
    if changes:
        raise ValueError(
            f"{folder} holds latents of something else:{listed(changes)}\n"
            "Remove it, or choose another folder with --out"
        )


def _jsonable(feature: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in feature.items()}
