"""Mixes datasets: checks that they go together, links, numbers through, and says what came out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.mixture import Mixture, Source
from ..weights.output_folder import appearing_folder
from .common import features_of, slots_of
from .films import Films
from .original import ACTION, STATE, Original, refuse_missing
from .recipe import Recipe
from .tables import Tables
from .weights import repeats


def mix(recipe: Recipe, out: Path, size: tuple[int, int] | None = None) -> tuple[Mixture, int]:
    """Write the mixture to `out`; returns it, and how many frames one pass over it draws."""
    from lerobot.utils.constants import DEFAULT_FEATURES

    refuse_missing(recipe.sources)
    originals = [Original.open(wanted) for wanted in recipe.sources]
    slots = slots_of(originals)
    features = {**features_of(originals, slots, size), **DEFAULT_FEATURES}
    given = [source.weight for source in recipe.sources if source.weight is not None]
    shares = given or [original.frames for original in originals]
    listed = repeats([original.lengths for original in originals], given or None)
    with appearing_folder(out) as root, tempfile.TemporaryDirectory(dir=root) as workshop:
        films, tables = Films(root, features, originals, slots), Tables(root, features)
        films.link(Path(workshop))
        jobs = list(enumerate(zip(originals, listed, strict=True)))
        for number, (original, repeated) in tqdm(jobs, desc="rows and episodes", unit="source", delay=2):
            tables.add(number, original, repeated, films.of)
        tables.finish()
        mixture = Mixture(
            tuple(
                _source(original, own, float(share) / float(sum(shares)))
                for original, own, share in zip(originals, slots, shares, strict=True)
            )
        )
        _write_info(root, features, originals[0].meta.fps, tables)
        _write_stats(root, features, originals, mixture)
        mixture.save(root)
        return mixture, tables.drawn_count


def _source(original: Original, own: dict[str, str], share: float) -> Source:
    return Source(
        name=original.name,
        frames=original.frames,
        weight=share,
        state_dim=original.state_dim,
        action_dim=original.action_dim,
        cameras=own,
        depth=sorted(slot for slot, camera in own.items() if original.depth_of(camera)),
        statistics=original.statistics(),
    )


def _write_info(root: Path, features: dict[str, Any], fps: int, tables: Tables) -> None:
    from lerobot.datasets.dataset_metadata import CODEBASE_VERSION
    from lerobot.datasets.feature_utils import create_empty_dataset_info
    from lerobot.datasets.io_utils import write_info

    info = create_empty_dataset_info(CODEBASE_VERSION, fps, features, True, "mixture")
    # Repeats are not counted: whoever asks for all episodes gets each once.
    info.total_episodes, info.total_frames = tables.episode_count, tables.frame_count
    info.total_tasks = tables.task_count
    info.splits = {"train": f"0:{tables.episode_count}"}
    write_info(info, root)


def _write_stats(root: Path, features: dict[str, Any], originals: list[Original], mixture: Mixture) -> None:
    """Over all sources, for LeRobot and for people to look at: the policy scales every source by its own."""
    from lerobot.datasets.io_utils import write_stats

    frames = np.array([original.frames for original in originals])
    stats: dict[str, Any] = {}
    for key in (STATE, ACTION):
        width, found = features[key]["shape"][0], {}
        for name, over in (("min", np.min), ("q01", np.min), ("q99", np.max), ("max", np.max)):
            parts = [source.statistics[key].get(name) for source in mixture.sources]
            if all(parts):
                wide = [np.pad(np.array(part), (0, width - len(part or ()))) for part in parts]
                found[name] = over(np.stack(wide), axis=0)
        stats[key] = {**found, "count": frames.sum(keepdims=True)}
    for key, feature in features.items():
        if feature["dtype"] == "video":
            channels = feature["shape"][-1]
            stats[key] = {
                "min": np.zeros((channels, 1, 1)),
                "max": np.ones((channels, 1, 1)),
                "count": frames.sum(keepdims=True),
            }
    write_stats(stats, root)
