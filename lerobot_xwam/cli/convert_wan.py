r"""Make X-WAM weights to start from out of Wan2.2-TI2V-5B: Wan's weights renamed, X-WAM's own parts new.

SRC is a local copy of the diffusers repo (or its transformer folder) or of the original release. The memory
needed is that of the largest tensor. What became of every tensor is printed and saved as conversion.txt and
.json.

Example:
  hf download Wan-AI/Wan2.2-TI2V-5B-Diffusers --local-dir wan2.2
  lerobot-xwam convert-wan wan2.2 --out xwam-wan2.2-init
  lerobot-train --policy.type=xwam --policy.base_weights=xwam-wan2.2-init --policy.codecs=wan2.2 ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "weights to start from, out of Wan2.2"
DTYPES = ("bfloat16", "float16", "float32")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of Wan's weights")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--seed", type=int, default=0, help="of X-WAM's own parts (default 0)")
    parser.add_argument("--views", type=int, default=3, help="cameras, 1 to 8 (default 3)")
    parser.add_argument("--depth-blocks", type=int, default=10, help="default 10; 0: no depth branch")
    parser.add_argument("--state-width", type=int, default=16, help="numbers in a state (default 16)")
    parser.add_argument("--action-width", type=int, default=14, help="numbers in an action (default 14)")
    parser.add_argument("--dtype", choices=DTYPES, help="of the written weights (default: as they are)")
    parser.add_argument("--codecs", help="codecs to name in config.json (default: those of Wan2.2)")


def run(arguments: argparse.Namespace) -> None:
    import torch

    from lerobot_xwam.weights.conversion import carry_out
    from lerobot_xwam.weights.from_wan import Additions, plan_from_wan

    additions = Additions(
        arguments.views, arguments.depth_blocks, arguments.state_width, arguments.action_width
    )
    conversion = plan_from_wan(
        arguments.source,
        additions,
        seed=arguments.seed,
        dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
        codecs=arguments.codecs,
    )
    carry_out([(conversion, arguments.out)])
    print(conversion.account.text())
    print(f"written: {arguments.out} ({conversion.nbytes / 1e9:.2f} GB)")
