r"""What fits on a GPU: acting with and without the text encoder and depth, LoRA, 8-bit AdamW, full, FSDP.

The network's own code runs on tensors without memory, and every byte that would be alive is counted:
weights, gradients, optimiser, activations, frozen encoders. At small sizes on a CPU that is within 10 % of
what PyTorch's allocator records, encoders and FSDP included; on a GPU it was not measured. Convolutions are
counted with the copies that a CPU makes: cuDNN may take more for faster ones. Not in it, and covered by
--reserve: the GPU's context, other kernels' workspaces, gaps in the allocator. Further settings add:
--policy.ema_decay four bytes per trained weight, --policy.micro_batch up to the gradients once more. GB are
10^9 bytes. At 5 B this takes a minute or two; nothing is downloaded.

Example:
  lerobot-xwam plan                                  # this machine's GPU
  lerobot-xwam plan --gpu-memory 80 --gpus 8 --batch 4
  lerobot-xwam plan --policy me/my-xwam --gpu-memory 24 --for inference
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerobot_xwam.configuration_xwam import XWAMConfig
    from lerobot_xwam.planning.tiers import Tier

HELP = "what fits on a GPU, and the command to run"
GB = 1e9
USES = ("inference", "training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--policy", help="checkpoint folder or Hub id")
    what.add_argument("--preset", default="wan2.2-5b", help="default wan2.2-5b")
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help="of one GPU (default: this machine's)")
    parser.add_argument("--gpus", type=int, help="default: this machine's, or 1")
    parser.add_argument("--batch", type=int, default=1, help="samples at a time on each GPU (default 1)")
    parser.add_argument("--views", type=int, help="cameras (default: the policy's, or 3)")
    parser.add_argument("--resolution", type=int, nargs=2, metavar=("H", "W"), help="default: the policy's")
    parser.add_argument("--for", dest="use", choices=USES, help="only this (default: both)")
    parser.add_argument("--reserve", type=float, default=1.5, metavar="GB", help="kept free (default 1.5)")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> None:
    from lerobot_xwam.planning.commands import commands

    memory, gpus = _gpus(arguments)
    if min(arguments.batch, gpus) < 1 or memory <= 0:
        raise ValueError(
            f"--gpu-memory {memory}, --gpus {gpus}, --batch {arguments.batch}: all must be above 0"
        )
    config, views = _config(arguments)
    room = (memory - arguments.reserve) * GB
    tiers = list(_tiers(arguments, config, views, gpus))
    best = {}
    for use in USES:
        fitting = [tier for tier in tiers if tier.use == use and tier.parts.total <= room]
        if fitting:
            best[use] = fitting[0]
    typed = {
        use: commands(tier, config, weights=arguments.policy, batch=arguments.batch, gpus=gpus)
        for use, tier in best.items()
    }
    if arguments.json:
        print(json.dumps(_report(arguments, memory, gpus, views, tiers, room, best, typed), indent=2))
        return
    name = arguments.policy or arguments.preset
    print(
        f"{name}: {views} views of {config.height}x{config.width}, batch {arguments.batch}; "
        f"{gpus} GPU(s) of {memory:g} GB, {arguments.reserve:g} GB of each kept free. GB per GPU:"
    )
    print(f"{'':64}{'weights':>8}{'grads':>8}{'optim':>8}{'activ':>8}{'codecs':>8}{'total':>8}")
    for tier in tiers:
        numbers = [f"{value / GB:8.1f}" for value in _sums(tier).values()]
        print(f"{'+' if tier.parts.total <= room else ' '} {tier.name:62}{''.join(numbers)}")
    for use in dict.fromkeys(tier.use for tier in tiers):
        if use in best:
            print(f"\n{use}: {best[use].name}\n  " + "\n  ".join(typed[use]))
        else:
            least = min(tier.parts.total for tier in tiers if tier.use == use)
            print(f"\n{use}: nothing fits; the least is {least / GB + arguments.reserve:.1f} GB")


def _gpus(arguments: argparse.Namespace) -> tuple[float, int]:
    """-> (GB of one GPU, how many)"""
    import torch

    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if arguments.gpu_memory is not None:
        return arguments.gpu_memory, 1 if arguments.gpus is None else arguments.gpus
    if not here:
        raise ValueError("no GPU found on this machine: say which one you mean, e.g. --gpu-memory 24")
    smallest = min(torch.cuda.get_device_properties(i).total_memory for i in range(here))
    return round(smallest / GB, 1), here if arguments.gpus is None else arguments.gpus


def _config(arguments: argparse.Namespace) -> tuple[XWAMConfig, int]:
    from dataclasses import replace

    from lerobot.configs import PreTrainedConfig

    from lerobot_xwam.configuration_xwam import XWAMConfig

    if arguments.policy:
        config = PreTrainedConfig.from_pretrained(arguments.policy)
        if not isinstance(config, XWAMConfig):
            raise ValueError(
                f"--policy {arguments.policy}: a {config.type!r} policy, this plans for xwam only"
            )
        views = arguments.views or len(config.cameras)
    else:
        config = XWAMConfig(preset=arguments.preset, device="cpu")
        views = arguments.views or min(3, config.max_views)
    changes: dict[str, Any] = {"device": "cpu", "weights_dtype": ""}
    if arguments.resolution:
        changes |= {"height": arguments.resolution[0], "width": arguments.resolution[1]}
    if views > config.max_views:
        if arguments.policy:
            raise ValueError(f"--views {views}: this checkpoint has room for {config.max_views}")
        changes["max_views"] = views
    if views < 1:
        raise ValueError(f"--views {views}: at least one camera is needed")
    return replace(config, **changes), views


def _tiers(arguments: argparse.Namespace, config: XWAMConfig, views: int, gpus: int) -> Iterator[Tier]:
    from tqdm import tqdm

    from lerobot_xwam.planning.network import Load
    from lerobot_xwam.planning.tiers import inference_tiers, training_tiers

    load = Load(arguments.batch, views)
    acting = 4 if config.has_depth_branch else 2
    count = {"inference": acting, "training": 16 if gpus > 1 else 12}
    wanted = [use for use in USES if arguments.use in (None, use)]
    with tqdm(total=sum(count[use] for use in wanted), desc="planning", leave=False) as bar:
        for use in wanted:
            acts = use == "inference"
            for tier in inference_tiers(config, load) if acts else training_tiers(config, load, gpus):
                bar.update(1)
                yield tier


def _sums(tier: Tier) -> dict[str, int]:
    parts = tier.parts
    return {
        "weights": parts.weights,
        "gradients": parts.gradients,
        "optimizer": parts.optimizer,
        "activations": parts.activations,
        "codecs": parts.codecs,
        "total": parts.total,
    }


def _report(
    arguments: argparse.Namespace,
    memory: float,
    gpus: int,
    views: int,
    tiers: list[Tier],
    room: float,
    best: dict[str, Tier],
    typed: dict[str, list[str]],
) -> dict[str, Any]:
    return {
        "policy": arguments.policy or arguments.preset,
        "gpu_memory_gb": memory,
        "gpus": gpus,
        "batch": arguments.batch,
        "views": views,
        "reserve_gb": arguments.reserve,
        "tiers": [
            {
                "name": tier.name,
                "use": tier.use,
                "fits": tier.parts.total <= room,
                "gb": {name: round(value / GB, 3) for name, value in _sums(tier).items()},
            }
            for tier in tiers
        ],
        "best": {use: {"name": best[use].name, "commands": typed[use]} for use in best},
    }
