r"""Convert a dataset of the X-WAM authors' layout to a LeRobotDataset v3 with depth.

States and actions are those of the universal interface. Bad episodes (a video cut off, missing depth, NaN
poses, left-handed rotations, another frame rate ...) are dropped and named in meta/converted.json, or stop
the conversion with --on-bad refuse. A stopped run goes on where it was: run the same command again; until
then the work is in OUT.partial.

Depth videos of this layout are 8-bit codes without a scale: tell with --depth-code and --depth-range what
their values mean in metres.

Example:
  lerobot-xwam convert-dataset --source RoboTwin/ --out data/robotwin --workers 8
  lerobot-xwam convert-dataset --source agibot/ --out data/agibot --action-skip 2 --size 256 320
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "a dataset of the authors' layout as a LeRobotDataset with depth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", required=True, metavar="FOLDER", help="with metadata.json, episodes, videos"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset; must not exist")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(0, 0), metavar=("H", "W"), help="resize pictures"
    )
    parser.add_argument(
        "--action-skip", type=int, default=1, help="frames per action: 2 makes 15 Hz of 30 Hz (default 1)"
    )
    parser.add_argument("--fps", type=float, default=0.0, help="of the source (default: its first episode's)")
    parser.add_argument(
        "--depth", choices=("required", "optional", "none"), default="required", help="default required"
    )
    parser.add_argument(
        "--depth-code",
        choices=("inverse", "linear"),
        default="inverse",
        help="of depth videos (default inverse)",
    )
    parser.add_argument(
        "--depth-range", type=float, nargs=2, default=(0.1, 10.0), metavar=("NEAR", "FAR"), help="in metres"
    )
    parser.add_argument("--inverse-gripper", action="store_true", help="the source's 0 is open")
    parser.add_argument(
        "--instructions", choices=("required", "optional"), default="required", help="default required"
    )
    parser.add_argument(
        "--on-bad",
        choices=("drop", "refuse"),
        default="drop",
        help="what becomes of bad episodes (default drop)",
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="the first N episodes only")
    parser.add_argument("--shard", type=int, default=20, metavar="N", help="episodes per step (default 20)")
    parser.add_argument(
        "--verify", type=int, default=3, metavar="N", help="episodes to read back (default 3)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: cores, at most 8)")


def run(arguments: argparse.Namespace) -> None:
    import time

    from lerobot_xwam.converting.convert import convert
    from lerobot_xwam.converting.settings import Settings

    height, width = arguments.size
    near, far = arguments.depth_range
    settings = Settings(
        source=arguments.source,
        fps=arguments.fps,
        action_skip=arguments.action_skip,
        height=height,
        width=width,
        depth=arguments.depth,
        depth_code=arguments.depth_code,
        depth_near=near,
        depth_far=far,
        inverse_gripper=arguments.inverse_gripper,
        instructions=arguments.instructions,
        on_bad=arguments.on_bad,
        episodes_per_shard=arguments.shard,
        limit=arguments.limit,
    )
    workers = min(8, os.cpu_count() or 1) if arguments.workers is None else arguments.workers
    out, begun = arguments.out.expanduser(), time.monotonic()
    about = convert(settings, out, workers, arguments.verify)
    seconds = time.monotonic() - begun
    frames = sum(episode["frames"] for episode in about["episodes"])
    print(f"{len(about['episodes'])} episodes, {frames} frames in {out} ({frames / seconds:.0f} frames/s)")
    for name, why in about["dropped"].items():
        print(f"dropped {name}: {why}")
    if about["verified"]:
        shown = ", ".join(f"{what} {value:.2g}" for what, value in about["verified"].items())
        print(f"read back, in units of what is allowed: {shown}")
