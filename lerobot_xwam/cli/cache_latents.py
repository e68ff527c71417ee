r"""Compute the latents of every training window once, so that training needs neither frames nor VAE.

Each window is stored in K augmented variants (--variants); variant k of a window is the same whenever and
wherever it is made. A stopped run goes on where it was: run the same command again. Anything the latents
depend on (dataset, VAE, sizes, cameras, depth code, augmentation) is recorded, and a training with something
else is refused, saying what differs.

Example:
  lerobot-xwam cache-latents --config configs/tiny.json --dataset data/lift --out data/lift-latents
  lerobot-train --config_path=configs/tiny.json --dataset.root=data/lift-latents/dataset \
      --policy.latent_cache=data/lift-latents

`dataset` in it is the dataset without its videos. With the original dataset training works too, but LeRobot
decodes the videos that nobody looks at. LeRobot's own --dataset.image_transforms change nothing then: the
augmentation is the one that was cached. A checkpoint that needs --rename_map has no latents; rename the
dataset's cameras instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerobot_xwam.configuration_xwam import XWAMConfig
    from lerobot_xwam.data.latent_store.manifest import Manifest

HELP = "compute a dataset's latents once, for faster training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, help="dataset folder or Hub id")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--policy", help="checkpoint (folder or Hub id) that training goes on with")
    source.add_argument("--config", type=Path, help="configuration of lerobot-train, e.g. configs/tiny.json")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a policy setting that training overrides too, e.g. --set crop_ratio=0.9 (repeatable)",
    )
    parser.add_argument("--variants", type=int, default=4, metavar="K", help="of each window (default 4)")
    parser.add_argument("--episodes", type=int, nargs="+", metavar="N", help="only these (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the augmentation (default 0)")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], help="stored latents (default: as computed)"
    )
    parser.add_argument("--out", type=Path, help="folder (default: beside the dataset, NAME-latents)")
    parser.add_argument("--device", help="of the VAE (default: the policy's)")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode frames (default 0)")
    parser.add_argument(
        "--video-backend", default="pyav", help="as in --dataset.video_backend (default pyav)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read all that is stored; make the damaged again"
    )


def run(arguments: argparse.Namespace) -> None:
    import torch
    from lerobot.datasets import LeRobotDatasetMetadata

    from lerobot_xwam.caching.build import drop_damaged, fill, opened_for_writing, plan_cache, require_room
    from lerobot_xwam.caching.identity import default_folder
    from lerobot_xwam.codecs.bundle import Codecs

    if arguments.variants < 1:
        raise ValueError(f"--variants {arguments.variants}: at least one is needed")
    local = Path(arguments.dataset).expanduser().is_dir()
    where = {"repo_id": "local/dataset", "root": Path(arguments.dataset).expanduser()}
    meta = LeRobotDatasetMetadata(**(where if local else {"repo_id": arguments.dataset}))
    config = _configure(arguments, meta)
    dataset = _open(meta, config, arguments)
    device = torch.device(arguments.device or config.device or "cpu")
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    codec = Codecs(config.codecs, config.codecs_revision, dtype, config.text_tokens).video(device)
    plan = plan_cache(
        config,
        dataset.meta,
        variants=arguments.variants,
        seed=arguments.seed,
        dtype=arguments.dtype or config.dtype,
        episodes=arguments.episodes,
    )
    folder = (arguments.out or default_folder(Path(meta.root), meta.repo_id)).expanduser()
    size = require_room(plan, folder)
    print(
        f"{plan.windows} windows x {plan.variants} variants of {plan.shape} in {plan.dtype}"
        f"{' with depth' if plan.depth else ''}: {size / 1e9:.3f} GB to write in {folder}"
    )
    with opened_for_writing(plan, folder) as store:
        for problem in drop_damaged(store, thorough=arguments.verify):
            print(f"removed, is made again: {problem}")
        missing = store.missing()
        windows = _windows(dataset, plan, missing, config, str(device), arguments.workers)
        fill(store, windows, config, codec, missing)
    print(_next_step(arguments, folder, plan))


def _configure(arguments: argparse.Namespace, meta: Any) -> XWAMConfig:
    """The policy's settings, completed from the dataset as LeRobot does it before training."""
    from lerobot.configs import FeatureType
    from lerobot.utils.feature_utils import dataset_to_policy_features

    from lerobot_xwam.cli.policy_settings import read_policy

    config = read_policy(policy=arguments.policy, config=arguments.config, settings=arguments.set)
    config.latent_cache = None  # of the checkpoint's own training
    features = dataset_to_policy_features(meta.features)
    config.output_features = {k: f for k, f in features.items() if f.type is FeatureType.ACTION}
    if not config.input_features:
        config.input_features = {k: f for k, f in features.items() if k not in config.output_features}
    config.set_dataset_feature_metadata(meta.features)
    config.validate_features()
    return config


def _open(meta: Any, config: XWAMConfig, arguments: argparse.Namespace) -> Any:
    """The dataset as lerobot-train opens it."""
    from lerobot.datasets import LeRobotDataset
    from lerobot.datasets.factory import resolve_delta_timestamps

    from lerobot_xwam.caching.running_frames import remember_frames
    from lerobot_xwam.features import check_dataset

    check_dataset(config, meta)
    dataset = LeRobotDataset(
        meta.repo_id,
        root=meta.root,
        delta_timestamps=resolve_delta_timestamps(config, meta),
        video_backend=arguments.video_backend,
        return_uint8=True,
        depth_output_unit=config.depth_unit,
    )
    remember_frames(dataset)
    return dataset


def _windows(
    dataset: Any, plan: Manifest, missing: list[int], config: XWAMConfig, device: str, workers: int
) -> Any:
    """Packed batches of one window each, decoded ahead by the workers."""
    from copy import copy

    from torch.utils.data import DataLoader, Subset

    from lerobot_xwam.processor_xwam import make_xwam_pre_post_processors

    local = copy(config)
    local.device = device  # frames are augmented there, as in training
    preprocess, _ = make_xwam_pre_post_processors(local)
    indices = [index for shard in missing for index in plan.indices(shard)]
    for batch in DataLoader(Subset(dataset, indices), batch_size=1, num_workers=workers):
        yield preprocess(batch)


def _next_step(arguments: argparse.Namespace, folder: Path, plan: Manifest) -> str:
    from lerobot_xwam.data.latent_store.manifest import DATASET

    start = f"--config_path={arguments.config}" if arguments.config else f"--policy.path={arguments.policy}"
    only = [f"--dataset.episodes='{plan.episodes}'"] if plan.episodes is not None else []
    lines = [
        f"lerobot-train {start}",
        f"--dataset.repo_id={plan.source['repo_id']}",
        f"--dataset.root={folder / DATASET}",
        *only,
        f"--policy.latent_cache={folder}",
        *(f"--policy.{each}" for each in arguments.set),
    ]
    return f"complete: {folder}\ntrain with\n  " + " \\\n      ".join(lines)
