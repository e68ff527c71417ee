"""Write episodes of the built-in tabletop world as an RGB-D LeRobotDataset.

With --behaviour play the arms wander: from that a world model learns what follows from any action.

Example:
  lerobot-xwam tabletop --out data/lift --episodes 20
  lerobot-train --config_path=configs/tiny.json --dataset.repo_id=local/lift --dataset.root=data/lift
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write demonstrations of the built-in tabletop world"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the new dataset; must not exist")
    parser.add_argument("--episodes", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--task", default="lift", choices=["lift", "lift_two_arms"], help="default lift")
    parser.add_argument(
        "--interface", default="ee", choices=["ee", "native"], help="ee: poses; native: joints"
    )
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="default: front left wrist")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(64, 80), metavar=("H", "W"), help="default 64 80"
    )
    parser.add_argument("--no-depth", action="store_true", help="RGB only")
    parser.add_argument(
        "--behaviour",
        default="expert",
        choices=["expert", "play"],
        help="play: random motions (default expert)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first episode (default 0)")


def run(arguments: argparse.Namespace) -> None:
    from lerobot_xwam.envs.tabletop.dataset import write_dataset

    if arguments.episodes < 1:
        raise ValueError(f"--episodes {arguments.episodes}: at least one is needed")
    root = write_dataset(
        arguments.out,
        episodes=arguments.episodes,
        cameras=arguments.cameras,
        size=tuple(arguments.size),
        interface=arguments.interface,
        depth=not arguments.no_depth,
        task=arguments.task,
        seed=arguments.seed,
        behaviour=arguments.behaviour,
    )
    print(f"{arguments.episodes} episodes in {root}")
