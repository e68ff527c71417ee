r"""Hold imagined RGB-D futures against the truth: the paper's 4D metrics, beside baselines, in one run.

Over held-out episodes of a dataset, or live in a simulator (--env) where the policy acts and what it imagined
is compared with what then happened. Writes metrics.json, metrics.csv, table.md and horizon.png.

Pixel-wise numbers (PSNR, SSIM, LPIPS, AbsRel, delta_1) are of the static cameras; the Chamfer distance is of
the fused clouds of all calibrated cameras, wrist cameras at their predicted poses. Frame 0 is given and not
counted. Where cameras are is read from observation.camera.<name>.intrinsics/extrinsics, or --calibration.

Example:
  lerobot-xwam evaluate-4d --policy outputs/train/checkpoints/last/pretrained_model \
      --dataset data/lift --episodes 45-49 --out outputs/4d
  lerobot-xwam evaluate-4d --policy ... --env xwam_tabletop --rollouts 5 --out outputs/4d
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scene_options import (
    add_scene_arguments,
    calibrated,
    camera_facts,
    effectors_of,
    env_options,
    require_metrics,
    scene_of,
    training_overlap,
)

if TYPE_CHECKING:
    from lerobot_xwam.data.batch import Clip
    from lerobot_xwam.world.cameras import Rig
    from lerobot_xwam.world.contest import Contest
    from lerobot_xwam.world.effectors import Effectors
    from lerobot_xwam.world.opening import Opened
    from lerobot_xwam.world.scores import Scene, Window

HELP = "hold imagined RGB-D futures against the truth: PSNR, SSIM, LPIPS, AbsRel, delta_1, Chamfer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--dataset", help="dataset folder or Hub id")
    parser.add_argument("--episodes", nargs="+", help="held-out ones, e.g. 45-49 52 (default: all)")
    parser.add_argument("--stride", type=int, help="frames between windows (default: the chunk's length)")
    parser.add_argument("--windows", type=int, help="of each episode, spread evenly, instead of --stride")
    parser.add_argument("--env", help="simulator instead of a dataset, e.g. xwam_tabletop")
    parser.add_argument("--env-option", nargs="+", default=[], metavar="NAME=VALUE", help="of the simulator")
    parser.add_argument("--rollouts", type=int, default=5, help="simulated episodes (default 5)")
    parser.add_argument("--chunks", type=int, default=3, help="of each simulated episode (default 3)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; must not exist")
    parser.add_argument(
        "--condition",
        nargs="+",
        choices=["joint", "given"],
        default=["joint", "given"],
        help="joint: the policy's own actions; given: those that were really done (default: both)",
    )
    parser.add_argument("--samples", type=int, default=1, help="futures per window (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the first future (default 0)")
    parser.add_argument(
        "--codec-rows",
        action="store_true",
        help="also the truth and the last frame through the video codec: what imagining can reach at best",
    )
    parser.add_argument("--video-steps", type=int, help="denoising steps (default: the policy's)")
    add_scene_arguments(parser)
    parser.add_argument("--lpips-weights", type=Path, help="torchvision's AlexNet; without it no LPIPS")
    parser.add_argument("--depth-estimator", help="transformers depth model: folder, or Hub id in the cache")
    parser.add_argument(
        "--depth-estimator-gives",
        choices=["metric", "depth", "inverse"],
        help="metres, depth up to scale, or inverse depth (default: as its configuration says)",
    )
    parser.add_argument("--device", help="default: the policy's")


def run(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from lerobot_xwam.weights.output_folder import appearing_folder, refuse_existing
    from lerobot_xwam.world.opening import open_policy
    from lerobot_xwam.world.report import markdown, write_report
    from lerobot_xwam.world.scores import Table

    _check(arguments)
    refuse_existing(arguments.out)
    with appearing_folder(arguments.out) as folder:  # now: a place that cannot be written is known at once
        opened = open_policy(arguments.policy, arguments.device, arguments.video_steps)
        facts: dict[str, Any] = {"policy": arguments.policy, "video_steps": opened.policy.config.video_steps}
        source = _from_env if arguments.env else _from_dataset
        with tqdm(desc="imagining", unit="call", leave=False) as bar:
            windows, seconds = source(arguments, opened, facts, bar)
        table = Table(windows, seconds)
        write_report(folder, table, facts)
    print(markdown(table))
    for name in ("calibration", "not fused", "held out"):
        if facts.get(name):
            print(f"{name}: {facts[name]}")
    print(f"results: {arguments.out}")


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.dataset is None) == (arguments.env is None):
        raise ValueError("give either --dataset or --env")
    if arguments.stride is not None and arguments.windows is not None:
        raise ValueError("give either --stride or --windows")
    for name in ("stride", "windows", "rollouts", "chunks", "samples", "video_steps"):
        value = vars(arguments)[name]
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: at least 1 is needed")
    if arguments.env and arguments.samples > 1:
        raise ValueError("--samples: in a simulator only one future can be done; use --dataset for more")
    env_options(arguments.env_option)
    require_metrics("torchmetrics", "scipy", "matplotlib")


def _from_dataset(
    arguments: argparse.Namespace, opened: Opened, facts: dict[str, Any], bar: Any
) -> tuple[list[Window], float]:
    from lerobot_xwam.data.batch import Clip
    from lerobot_xwam.world.opening import Episodes

    config = opened.policy.config
    episodes = Episodes.open(arguments.dataset, config)
    chosen = _numbers(arguments.episodes) or list(range(episodes.count))
    stride = arguments.stride or config.chunk_size

    def starts(episode: int) -> list[int]:
        if arguments.windows is not None:
            return episodes.spread(episode, arguments.windows)
        return episodes.starts(episode, stride)

    plan = [(episode, start) for episode in chosen for start in starts(episode)]
    if not plan:
        raise ValueError(
            f"--episodes {chosen}: none is longer than the horizon of {config.chunk_size} control steps"
        )
    model = opened.world_model(episodes.fps)
    contest = _contest(arguments, model)
    facts |= {"dataset": arguments.dataset, "episodes": chosen, "windows": len(plan)}
    facts |= training_overlap(arguments.policy, arguments.dataset, chosen)
    bar.reset(total=len(plan) * contest.calls)
    effectors, scene, last = effectors_of(arguments, opened, episodes.state_names), None, None
    windows: list[Window] = []
    for episode, start in plan:
        if scene is None or episode != last:
            rig, refused = calibrated(arguments) or episodes.rig(episode, effectors)
            scene, last = _scene(arguments, contest, rig, refused, effectors, facts), episode
        clip = Clip.of(opened.preprocess(episodes.window(episode, start)))
        if "calibration" not in facts:
            facts["calibration"] = _calibration_check(contest, clip, scene)
        windows += contest.hold(clip, scene, episode, start, bar.update)
    return windows, model.seconds


def _from_env(
    arguments: argparse.Namespace, opened: Opened, facts: dict[str, Any], bar: Any
) -> tuple[list[Window], float]:
    from lerobot_xwam.world.live import open_live

    options = env_options(arguments.env_option)
    world = open_live(opened, arguments.env, options)
    model = world.model
    contest, effectors = _contest(arguments, model), effectors_of(arguments, opened, [])
    seeds = range(arguments.seed, arguments.seed + arguments.rollouts)
    facts |= {"env": arguments.env, **options, "env_seeds": list(seeds), "chunks": arguments.chunks}
    bar.reset(total=len(seeds) * arguments.chunks * contest.calls)
    windows: list[Window] = []
    try:
        for seed in seeds:
            for done in world.chunks(seed, arguments.chunks, effectors, arguments.seed):
                found = calibrated(arguments) or (done.rig, done.refused)
                scene = _scene(arguments, contest, *found, effectors, facts)
                if "calibration" not in facts:
                    facts["calibration"] = _calibration_check(contest, done.clip, scene)
                windows += contest.hold(done.clip, scene, seed, done.start, bar.update)
    finally:
        world.env.close()
    if not windows:
        raise ValueError("every episode ended within its first chunk: there is nothing to compare")
    return windows, model.seconds


def _contest(arguments: argparse.Namespace, model: Any) -> Contest:
    from lerobot_xwam.estimating.transformers_model import load_estimator
    from lerobot_xwam.world.contest import Contest, External

    external = None
    if arguments.depth_estimator:
        estimator, told = load_estimator(arguments.depth_estimator, arguments.device or "cpu")
        kind = arguments.depth_estimator_gives or told
        if kind is None:
            raise ValueError(
                f"--depth-estimator {arguments.depth_estimator}: its configuration does not say what it "
                "gives; say it: --depth-estimator-gives metric|depth|inverse"
            )
        external = External(Path(arguments.depth_estimator).name, estimator, kind)
    seeds = range(arguments.seed, arguments.seed + arguments.samples)
    conditions = tuple(dict.fromkeys(arguments.condition))
    return Contest(model, conditions, seeds, external, arguments.codec_rows, arguments.keep_still)


def _scene(
    arguments: argparse.Namespace,
    contest: Contest,
    rig: Rig,
    refused: dict[str, str],
    effectors: Effectors | None,
    facts: dict[str, Any],
) -> Scene:
    """What to compare, and in words what cannot be: kept among the facts."""
    from lerobot_xwam.world.perceptual import load_lpips

    scene = scene_of(arguments, contest.model, rig, effectors)
    facts |= camera_facts(contest.model.cameras, rig, refused)
    facts |= {"far": arguments.far, "voxel": arguments.voxel}
    if arguments.lpips_weights is not None:
        scene = replace(scene, lpips=load_lpips(arguments.lpips_weights))
    return scene


def _calibration_check(contest: Contest, clip: Clip, scene: Scene) -> list[str]:
    """Whether the true clouds of all cameras meet, in words; of the first window."""
    from lerobot_xwam.world.agreement import agreements
    from lerobot_xwam.world.cloud import fuse

    truth = contest.model.recorded(clip)
    if scene.rig is None or truth.metres is None:
        return []
    poses, rig = scene.poses(truth), scene.rig
    clouds = [fuse(truth, f, rig, scene.grid, poses, scene.filters) for f in range(truth.frames)]
    return [str(each) for each in agreements(clouds, rig.static(truth.cameras), rig.wrist(truth.cameras))]


def _numbers(given: list[str] | None) -> list[int]:
    """45-49 52 -> 45 46 47 48 49 52"""
    numbers: list[int] = []
    for each in given or []:
        first, dash, last = each.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"--episodes {each}: wanted numbers and ranges, e.g. 45-49 52")
        numbers += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(numbers))
