r"""Turn a released X-WAM checkpoint into a LeRobot checkpoint, or back with --to-official.

SRC is an experiment folder, its last.ckpt, or the file mp_rank_00_model_states.pt itself. Statistics, horizon
and cameras come from the config.yaml of the experiment. No code in the file is run, and the memory needed is
that of the largest tensor. What became of every tensor is printed and saved as conversion.txt and .json.

Examples:
  lerobot-xwam convert-official experiments/robotwin --out xwam-robotwin
  lerobot-xwam convert-official experiments/robotwin --out for-so101 \
      --state-width 6 --action-width 6 --views 2
  lerobot-xwam convert-official xwam-robotwin --out back --to-official --frozen-from experiments/robotwin
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .convert_wan import DTYPES

if TYPE_CHECKING:
    import torch

    from lerobot_xwam.weights.conversion import Conversion

HELP = "a released X-WAM checkpoint to LeRobot, or back"

_ONLY_FORWARD = (
    "codecs_out",
    "tokenizer",
    "without_depth",
    "views",
    "state_width",
    "action_width",
    "cameras",
)
_ONLY_BACK = ("frozen_from",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="SRC", help="released checkpoint (with --to-official: ours)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--config", type=Path, help="config.yaml (default: the experiment's)")
    parser.add_argument(
        "--wan-config", type=Path, help="config.json of its Wan model, if it is not 128 per head"
    )
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="default: RoboTwin's or RoboCasa's")
    parser.add_argument("--without-depth", action="store_true", help="leave the depth branch out")
    parser.add_argument("--views", type=int, metavar="N", help="1 to 8: keep the first, start more anew")
    parser.add_argument("--state-width", type=int, metavar="N", help="cut or widen the state")
    parser.add_argument("--action-width", type=int, metavar="N", help="cut or widen the action")
    parser.add_argument("--seed", type=int, default=0, help="of new view embeddings (default 0)")
    parser.add_argument("--dtype", choices=DTYPES, help="of the written weights (default: as they are)")
    parser.add_argument(
        "--codecs", help="codecs to name in config.json; with --to-official the folder to read"
    )
    parser.add_argument("--codecs-out", type=Path, help="also write VAE and text encoder into this folder")
    parser.add_argument("--tokenizer", type=Path, help="umT5's tokenizer, copied into --codecs-out")
    parser.add_argument(
        "--to-official", action="store_true", help="the other way: ours to the official layout"
    )
    parser.add_argument(
        "--frozen-from", type=Path, help="with --to-official: release with VAE and text encoder"
    )


def run(arguments: argparse.Namespace) -> None:
    from lerobot_xwam.weights.conversion import carry_out

    if arguments.to_official:
        _refuse(arguments, _ONLY_FORWARD, "makes no sense with --to-official")
        conversions = [(_plan_back(arguments), arguments.out)]
    else:
        _refuse(arguments, _ONLY_BACK, "goes with --to-official")
        conversions = _plan(arguments)
    carry_out(conversions, finish=_write_processors)
    for conversion, folder in conversions:
        print(conversion.account.text())
        print(f"written: {folder} ({conversion.nbytes / 1e9:.2f} GB)\n")


def _plan(arguments: argparse.Namespace) -> list[tuple[Conversion, Path]]:
    from lerobot_xwam.weights.from_official import Wishes, plan_from_official
    from lerobot_xwam.weights.frozen import plan_codecs
    from lerobot_xwam.weights.official_layout import find_config, find_states, read_official

    states = find_states(arguments.source)
    config = find_config(states, arguments.config)
    if config is None:
        raise ValueError(f"{states}: no config.yaml above it; it has the statistics. Give it with --config")
    official = read_official(states)
    wishes = Wishes(
        depth=not arguments.without_depth,
        views=arguments.views,
        state_width=arguments.state_width,
        action_width=arguments.action_width,
        cameras=arguments.cameras,
        codecs=arguments.codecs or (arguments.codecs_out and str(arguments.codecs_out.absolute())),
        dtype=_dtype(arguments),
        seed=arguments.seed,
    )
    policy = plan_from_official(official, config, wishes, wan_config=arguments.wan_config)
    if arguments.codecs_out is None:
        return [(policy, arguments.out)]
    return [
        (plan_codecs(official, arguments.tokenizer), arguments.codecs_out),
        (policy, arguments.out),
    ]


def _plan_back(arguments: argparse.Namespace) -> Conversion:
    from lerobot_xwam.weights.official_layout import find_states, read_official
    from lerobot_xwam.weights.to_official import FrozenParts, plan_to_official

    release = read_official(find_states(arguments.frozen_from)) if arguments.frozen_from else None
    codecs = Path(arguments.codecs) if arguments.codecs else None
    return plan_to_official(
        arguments.source,
        FrozenParts(release, codecs),
        config_path=arguments.config,
        dtype=_dtype(arguments),
    )


def _write_processors(conversion: Conversion, folder: Path) -> None:
    """Both pipelines, with the release's statistics in our scaling."""
    from lerobot_xwam.processor_xwam import make_xwam_pre_post_processors

    if conversion.config is None or conversion.statistics is None:
        return
    for pipeline in make_xwam_pre_post_processors(conversion.config, conversion.statistics):
        pipeline.save_pretrained(folder)


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    given = vars(arguments)
    for name in names:
        if given[name]:
            raise ValueError(f"--{name.replace('_', '-')} {why}")


def _dtype(arguments: argparse.Namespace) -> torch.dtype | None:
    import torch

    return getattr(torch, arguments.dtype) if arguments.dtype else None
