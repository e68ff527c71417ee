r"""Convert a dataset of somebody else's layout to a LeRobotDataset v3 with depth and cameras.

  --layout authors    the X-WAM authors' folders: a JSON per episode, videos of colour and depth
  --layout robomimic  robomimic's and RoboCasa's HDF5: its states are replayed in MuJoCo to RGB-D and cameras
  --layout robotwin   RoboTwin 2.0's HDF5
  --layout lerobot    any LeRobotDataset v3, by --mapping: a YAML file that says which column is what.
                      python -m pydoc lerobot_xwam.converting.mapping tells its format. Ready are
                      {ready}

States and actions are those of the universal interface. Bad episodes (a file cut off, missing depth, NaN
poses, left-handed rotations, another frame rate ...) are dropped and named in meta/converted.json, or stop
the conversion with --on-bad refuse. A stopped run goes on where it was: run the same command again; until
then the work is in OUT.partial.

--rate resamples: states are interpolated, actions are computed anew from where they lead, pictures are the
nearest in time. The paper has actions at 15 Hz, pictures of 320x256 and every fourth of them (3.75 fps),
which is how the policy reads a dataset of 15 Hz: --rate 15 --size 256 320.

--filter leaves out what the paper does: failed episodes, locomotion of the base, dexterous hands, and
stationary frames (it does the last for DROID only). What that was is counted in meta/converted.json.

Depth videos of the authors' layout are 8-bit codes without a scale: tell with --depth-code and --depth-range
what their values mean in metres.

Example:
  lerobot-xwam convert-dataset --source RoboTwin/ --out data/robotwin --workers 8
  lerobot-xwam convert-dataset --layout robomimic --source lift.hdf5 --cameras agentview --out data/lift
  lerobot-xwam convert-dataset --layout robotwin --source robotwin2/ --rate 15 --out data/robotwin
  lerobot-xwam convert-dataset --layout lerobot --mapping droid --source droid_1.0.1/ --depth none \
      --rate 15 --size 256 320 --filter failed stationary --out data/droid
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lerobot_xwam.converting.mapping_files import load, ready
from lerobot_xwam.converting.settings import DEFAULT_FILTERS, FILTERS

HELP = "a dataset of another layout as a LeRobotDataset with depth: RoboCasa, RoboTwin, DROID, your own"
__doc__ = str(__doc__).replace("{ready}", ", ".join(ready()).replace(", i", ",\n                      i", 1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, metavar="PATH", help="folder, or an HDF5 file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset; must not exist")
    parser.add_argument(
        "--layout", choices=tuple(DEFAULT_FILTERS), default="authors", help="of the source (default authors)"
    )
    parser.add_argument("--mapping", metavar="FILE", help="for --layout lerobot: a YAML file, or a ready one")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(0, 0), metavar=("H", "W"), help="resize pictures"
    )
    parser.add_argument("--cameras", nargs="+", default=(), metavar="NAME", help="only these (default: all)")
    parser.add_argument(
        "--action-skip", type=int, default=1, help="frames per action: 2 makes 15 Hz of 30 Hz (default 1)"
    )
    parser.add_argument("--rate", type=float, default=0.0, metavar="HZ", help="resample to this rate")
    parser.add_argument("--fps", type=float, default=0.0, help="of the source (default: its first episode's)")
    parser.add_argument(
        "--actions",
        choices=("recorded", "path"),
        default="recorded",
        help="as commanded, or from each measured pose to the next (default recorded)",
    )
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
        "--filter",
        nargs="*",
        choices=FILTERS,
        metavar="WHAT",
        help=f"leave out: {', '.join(FILTERS)} (default: failed; for lerobot also locomotion and hands; "
        "none for authors and robotwin)",
    )
    parser.add_argument(
        "--still",
        type=float,
        nargs=4,
        default=None,
        metavar=("S", "M", "RAD", "GRIP"),
        help="stationary: so long within so little (default 1 s, 2 mm, 0.02 rad, 2 %% of the gripper)",
    )
    parser.add_argument(
        "--base-limit",
        type=float,
        nargs=2,
        default=(0.05, 0.1),
        metavar=("M", "RAD"),
        help="locomotion: a base that goes further (default 0.05 0.1)",
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
    from lerobot_xwam.space.pauses import Stillness

    height, width = arguments.size
    near, far = arguments.depth_range
    still = Stillness(*arguments.still) if arguments.still else Stillness()
    filters = DEFAULT_FILTERS[arguments.layout] if arguments.filter is None else arguments.filter
    settings = Settings(
        source=arguments.source,
        layout=arguments.layout,
        mapping=None if arguments.mapping is None else load(arguments.mapping),
        fps=arguments.fps,
        action_skip=arguments.action_skip,
        rate=arguments.rate,
        actions=arguments.actions,
        cameras=tuple(sorted(set(arguments.cameras))),
        height=height,
        width=width,
        depth=arguments.depth,
        depth_code=arguments.depth_code,
        depth_near=near,
        depth_far=far,
        inverse_gripper=arguments.inverse_gripper,
        instructions=arguments.instructions,
        filters=tuple(sorted(set(filters))),
        base_metres=arguments.base_limit[0],
        base_radians=arguments.base_limit[1],
        still_seconds=still.seconds,
        still_metres=still.metres,
        still_radians=still.radians,
        still_gripper=still.gripper,
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
    for change, counts in about["resampling"].items():
        print(f"pictures {change}: {counts['source_frames']} -> {counts['frames']} frames")
    for name, counts in about["filters"].items():
        print(f"filter {name}: " + ", ".join(f"{what.replace('_', ' ')} {n}" for what, n in counts.items()))
    if about["verified"]:
        shown = ", ".join(f"{what} {value:.2g}" for what, value in about["verified"].items())
        print(f"read back, in units of what is allowed: {shown}")
