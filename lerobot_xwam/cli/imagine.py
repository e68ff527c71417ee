r"""Imagine the future from one frame of a dataset and put it beside what really happened.

Writes imagined.mp4 (seen and imagined RGB and depth), imagined.png (a contact sheet) and imagined.json (how
close it came, against the baseline that the first frame stands still).

Example:
  lerobot-xwam imagine --policy outputs/train/checkpoints/last/pretrained_model \
      --dataset data/lift --out imagined
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

HELP = "imagine RGB-D futures from a dataset frame, beside the truth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--dataset", required=True, help="dataset folder or Hub id")
    parser.add_argument("--episode", type=int, default=0, help="default 0")
    parser.add_argument("--frame", type=int, default=0, help="frame within the episode (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument(
        "--video-steps", type=int, help="denoising steps of the video (default: the policy's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--device", help="default: the policy's")
    parser.add_argument("--scale", type=int, default=2, help="enlarge the pictures (default 2)")


def run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from lerobot_xwam.data.batch import Clip
    from lerobot_xwam.data.views import center_crop
    from lerobot_xwam.files import appearing
    from lerobot_xwam.pictures import (
        contact_sheet,
        depth_pixels,
        rgb_pixels,
        side_by_side,
        stack_rows,
        write_mp4,
        write_png,
    )

    policy, preprocess = _load_policy(arguments)
    batch, fps = _load_window(arguments, policy.config)
    clip = Clip.of(preprocess(batch))
    imagination = policy.imagine(clip.observation)
    with _progress(policy.config.video_steps) as bar:
        counted = replace(imagination, denoise=_counting(imagination.denoise, bar))
        rollout = counted.finish(counted.draft())

    codec = policy.codecs.video(clip.actions.device)
    seen = center_crop(clip.observation.video, policy.config.crop_ratio)[0]  # V F 3 H W
    imagined = codec.decode(rollout.latents.video)[0]
    rows = {"seen": side_by_side(rgb_pixels(seen)), "imagined": side_by_side(rgb_pixels(imagined))}
    report = {
        "psnr": _psnr(imagined, seen),
        "psnr_if_nothing_moved": _psnr(seen[:, :1].expand_as(seen), seen),
    }
    if rollout.depth is not None:
        depth = codec.decode(rollout.depth)[0].mean(dim=2)  # V F H W
        if clip.depth is not None:
            truth = center_crop(clip.depth, policy.config.crop_ratio, depth=True)[0]  # V F 2 H W
            rows["depth seen"] = side_by_side(depth_pixels(truth[:, :, 0]))
            report |= _depth_report(policy.config, depth, truth)
        rows["depth imagined"] = side_by_side(depth_pixels(depth))

    frames = len(rows["seen"])
    moments = np.linspace(0, frames - 1, min(frames, 5)).round().astype(int).tolist()
    write_mp4(arguments.out / "imagined.mp4", stack_rows(rows, arguments.scale), fps)
    write_png(arguments.out / "imagined.png", contact_sheet(rows, moments, arguments.scale))
    with appearing(arguments.out / "imagined.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in report.items():
        print(f"{name:>28}: {value:.4g}")
    print(f"pictures: {arguments.out / 'imagined.png'} and {arguments.out / 'imagined.mp4'}")


def _load_policy(arguments: argparse.Namespace) -> tuple[Any, Any]:
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.factory import make_pre_post_processors

    from lerobot_xwam.configuration_xwam import XWAMConfig
    from lerobot_xwam.modeling_xwam import XWAMPolicy

    for name in ("policy", "dataset"):
        source = getattr(arguments, name)
        if not Path(source).is_dir() and (source.startswith((".", "/", "~")) or source.count("/") != 1):
            raise FileNotFoundError(f"--{name} {source}: no such folder, and no Hub id like NAME/REPO either")
    config = PreTrainedConfig.from_pretrained(arguments.policy)
    if not isinstance(config, XWAMConfig):
        raise ValueError(f"--policy {arguments.policy}: a {config.type!r} policy, only xwam imagines")
    config.device = arguments.device or config.device
    config.video_steps = arguments.video_steps or config.video_steps
    config.inference_seed = arguments.seed
    policy = XWAMPolicy.from_pretrained(arguments.policy, config=config)
    preprocess, _ = make_pre_post_processors(
        config,
        pretrained_path=arguments.policy,
        preprocessor_overrides={"device_processor": {"device": config.device}},
    )
    return policy, preprocess


def _load_window(arguments: argparse.Namespace, config: Any) -> tuple[dict[str, Any], float]:
    """One training window as a batch of one, and the frame rate of its frames."""
    from lerobot.datasets import LeRobotDataset, LeRobotDatasetMetadata
    from torch.utils.data import default_collate

    local = Path(arguments.dataset).is_dir()
    where = (
        {"repo_id": "local/dataset", "root": arguments.dataset} if local else {"repo_id": arguments.dataset}
    )
    meta = LeRobotDatasetMetadata(**where)
    if not 0 <= arguments.episode < meta.total_episodes:
        raise ValueError(
            f"--episode {arguments.episode}: the dataset has episodes 0 to {meta.total_episodes - 1}"
        )
    length = int(meta.episodes["length"][arguments.episode])
    if not 0 <= arguments.frame < length:
        raise ValueError(
            f"--frame {arguments.frame}: episode {arguments.episode} has frames 0 to {length - 1}"
        )
    deltas = {
        key: config.observation_delta_indices for key in meta.features if key.startswith("observation.")
    }
    deltas["action"] = config.action_delta_indices
    dataset = LeRobotDataset(
        **where,
        delta_timestamps={key: [i / meta.fps for i in indices] for key, indices in deltas.items()},
        video_backend="pyav",
    )
    start = int(meta.episodes["dataset_from_index"][arguments.episode])
    return default_collate([dataset[start + arguments.frame]]), meta.fps / config.actions_per_frame


def _counting(denoise: Any, bar: Any) -> Any:
    def counted(*arguments: Any) -> Any:
        prediction = denoise(*arguments)
        bar.update(1)
        return prediction

    return counted


def _progress(steps: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, desc="imagining", unit="step", leave=False)


def _psnr(frames: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over the imagined frames (the first is given). V F 3 H W in [-1, 1]"""
    error = (frames[:, 1:] - truth[:, 1:]).square().mean() / 4  # range 2 -> squared range 4
    return float(-10 * error.clamp(min=1e-12).log10())


def _depth_report(config: Any, code: Tensor, truth: Tensor) -> dict[str, float]:
    """AbsRel of the imagined depth and of the standing first frame, on pixels with a reading."""
    from lerobot_xwam.codecs.depth import DepthCodec

    codec = DepthCodec(config.depth_near, config.depth_far)
    valid = truth[:, 1:, 1] > 0.5
    wanted = codec.decode(truth[:, :, 0])

    def abs_rel(metres: Tensor) -> float:
        return float(((metres[:, 1:] - wanted[:, 1:]).abs() / wanted[:, 1:])[valid].mean())

    return {
        "abs_rel": abs_rel(codec.decode(code)),
        "abs_rel_if_nothing_moved": abs_rel(wanted[:, :1].expand_as(wanted)),
    }
