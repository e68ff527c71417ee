r"""Collect demonstrations of scripted experts in the robosuite tasks as an RGB-D LeRobotDataset.

Only episodes that succeed are kept. With --behaviour play the hands wander instead, every episode is kept,
and its instruction says so ("move about"): from that a world model learns what any action does.

A stopped run goes on where it was: run the same command again; until then the episodes are in OUT.partial.

Example:
  lerobot-xwam collect --task lift,stack --episodes 200 --noise 0.5 --out data/cubes
  lerobot-xwam collect --task lift,two_arm_lift --arms 2 --episodes 100 --out data/arms
  lerobot-xwam collect --task lift --behaviour play --episodes 50 --out data/play
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "collect demonstrations of scripted experts in robosuite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset; must not exist")
    parser.add_argument("--task", default="lift", help="one or several, separated by commas (default lift)")
    parser.add_argument("--episodes", type=int, default=50, help="of all tasks together (default 50)")
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="default: all, or front hand second")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(96, 128), metavar=("H", "W"), help="default 96 128"
    )
    parser.add_argument(
        "--interface",
        default="ee",
        choices=["ee", "raw", "native"],
        help="ee: relative poses; raw: the controller's own actions; native: joints (default ee)",
    )
    parser.add_argument(
        "--arms", type=int, default=0, choices=[0, 2], help="2: the width of two arms (default 0: the task's)"
    )
    parser.add_argument("--no-depth", action="store_true", help="RGB only")
    parser.add_argument("--camera-matrices", action="store_true", help="add intrinsics and extrinsics")
    parser.add_argument(
        "--seed", type=int, default=0, help="first seed; each episode has its own (default 0)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.0,
        help="part of the episodes in which the hand is pushed now and then, 0 to 1 (default 0)",
    )
    parser.add_argument(
        "--behaviour",
        default="expert",
        choices=["expert", "play"],
        help="play: random motions, from where an expert got to (default expert)",
    )
    parser.add_argument("--fps", type=int, default=20, choices=[20], help="the controllers' rate")
    parser.add_argument("--workers", type=int, help="processes that simulate (default: cores, at most 4)")


def run(arguments: argparse.Namespace) -> None:
    from lerobot_xwam.collecting.collect import collect
    from lerobot_xwam.collecting.settings import Settings

    settings = Settings.checked(
        arguments.task,
        arguments.cameras,
        tuple(arguments.size),
        interface=arguments.interface,
        arms=arguments.arms,
        depth=not arguments.no_depth,
        camera_matrices=arguments.camera_matrices,
        seed=arguments.seed,
        noise=arguments.noise,
        fps=arguments.fps,
        behaviour=arguments.behaviour,
    )
    workers = min(4, os.cpu_count() or 1) if arguments.workers is None else arguments.workers
    out = arguments.out.expanduser()
    about = collect(settings, arguments.episodes, out, workers)
    frames = sum(episode["frames"] for episode in about["episodes"])
    print(f"{len(about['episodes'])} episodes, {frames} frames in {out}")
