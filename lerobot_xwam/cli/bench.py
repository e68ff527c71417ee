r"""How fast is it on this machine, and what limits it?

Measures the stages of a chunk of actions (preprocess, encode, a network call, solver, postprocess; decoding
the video), whole chunks the plain way, as they are made, and with each shortcut and its error, and diffusers'
Wan transformer of the same size. "of floor" is the least time that the work can take on this machine (its own
measured matrix products and copies) divided by the time it took. On a busy machine read the counts, not the
times. With --train: a training step on a dataset, the data loader's share of it, and how many processes keep
up (num_workers); with --latents the same step on cached latents, too.

Example:
  lerobot-xwam bench                                   # the tiny preset, any machine
  lerobot-xwam bench --policy hub_cards/xwam-small-robosuite --out bench.json --plot bench.png
  lerobot-xwam bench --preset wan2.2-5b --device cuda --compile
  lerobot-xwam bench --train --config configs/small.json --dataset data/lift --batch 8 --workers 2 \
      --latents data/lift-latents
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerobot_xwam.benching.machine import Machine
    from lerobot_xwam.configuration_xwam import XWAMConfig

HELP = "how fast it is on this machine, and what limits it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--policy", help="checkpoint folder or Hub id")
    what.add_argument("--preset", default="tiny", help="with random weights (default tiny)")
    what.add_argument("--config", type=Path, help="configuration of lerobot-train (with --train)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a policy setting")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--batch", type=int, default=1, help="robots, or samples with --train (default 1)")
    parser.add_argument("--repeats", type=int, help="of each measurement (default 30 on a GPU, 5 on a CPU)")
    parser.add_argument(
        "--compile", action="store_true", help="measure compiled chunks, too (minutes at first)"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave diffusers' transformer away")
    parser.add_argument(
        "--train", action="store_true", help="measure a training step instead; needs --dataset"
    )
    parser.add_argument("--dataset", help="dataset folder or Hub id, for --train")
    parser.add_argument("--workers", type=int, default=0, help="processes of the data loader (default 0)")
    parser.add_argument("--latents", type=Path, help="folder of cache-latents: measure that beside frames")
    parser.add_argument("--video-backend", help="as in --dataset.video_backend (default: as LeRobot chooses)")
    parser.add_argument("--out", type=Path, help="JSON with all figures")
    parser.add_argument("--plot", type=Path, help="a picture (PNG)")


def run(arguments: argparse.Namespace) -> None:
    import torch

    from lerobot_xwam.benching.machine import measure_machine
    from lerobot_xwam.benching.report import draw, table, write_json
    from lerobot_xwam.cli.policy_settings import read_policy

    if arguments.train and not arguments.dataset:
        raise ValueError("--train measures with a dataset: name it with --dataset")
    if arguments.latents and not arguments.train:
        raise ValueError("--latents goes with --train: acting encodes what the robot sees")
    if arguments.plot and arguments.train:
        raise ValueError("--plot draws chunks, there are none with --train")
    if min(arguments.batch, arguments.repeats or 1) < 1:
        raise ValueError(f"--batch {arguments.batch}, --repeats {arguments.repeats}: use 1 or more")
    name = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    repeats = arguments.repeats or (30 if device.type == "cuda" else 5)
    config = read_policy(
        policy=arguments.policy,
        config=arguments.config,
        preset=None if arguments.policy or arguments.config else arguments.preset,
        settings=arguments.set,
    )
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    machine = measure_machine(device, dtype)
    report = (_train if arguments.train else _act)(arguments, config, machine, repeats)
    print(table(report))
    if arguments.out:
        write_json(report, arguments.out)
    if arguments.plot:
        draw(report, arguments.plot)


def _act(arguments: argparse.Namespace, config: XWAMConfig, machine: Machine, repeats: int) -> dict[str, Any]:
    from lerobot_xwam.benching.report import as_json
    from lerobot_xwam.benching.stages import measure_stages
    from lerobot_xwam.benching.subject import make_subject, prepare_config
    from lerobot_xwam.benching.variants import measure_variants, video_cache_effect

    subject = make_subject(prepare_config(config, machine.device), arguments.batch, arguments.policy)
    stages = measure_stages(subject, machine, repeats)
    variants, left_out = measure_variants(subject, repeats, compiled=arguments.compile)
    peers = {} if arguments.no_peers else _peers(subject, repeats)
    cache = None
    if machine.device == "cpu" or config.video_steps <= 50:
        threshold = config.turbo_video_cache or 0.05
        cache = video_cache_effect(subject, threshold) if config.guidance == 1 else None
    if not arguments.compile:
        left_out.append("compiled chunks: give --compile")
    return as_json(
        machine,
        _described(arguments, subject.policy.config, subject.policy.net, arguments.batch),
        stages,
        variants,
        peers,
        left_out,
        video_cache=cache,
        advice=_advice(subject.policy),
    )


def _peers(subject: Any, repeats: int) -> dict[str, Any]:
    from lerobot_xwam.benching.clock import take_turns
    from lerobot_xwam.benching.counting import work_of
    from lerobot_xwam.benching.peers import wan_pass
    from lerobot_xwam.data.batch import Observation
    from lerobot_xwam.model.noise import clock_times
    from lerobot_xwam.model.types import Asked

    policy = subject.policy
    imagination = policy.imagine(Observation.of(subject.batch))
    x = imagination.noise
    clock = x.actions.new_full((len(x.actions),), 999.0)
    times, asked = clock_times(clock, clock, imagination.given), Asked(video="imagined")
    calls = {"peer": wan_pass(policy.config, x), "ours": lambda: imagination.denoise(x, times, asked)}
    took = take_turns(calls, subject.device, max(repeats, 15), "peers")
    work = {name: work_of(call) for name, call in calls.items()}
    return {
        "diffusers' WanTransformer3DModel": {
            "ms": 1e3 * took["peer"].median,
            "ours_ms": 1e3 * took["ours"].median,
            "least_ms": 1e3 * took["peer"].least,
            "ours_least_ms": 1e3 * took["ours"].least,
            "gflop": work["peer"].flops / 1e9,
            "ours_gflop": work["ours"].flops / 1e9,
            "operations": work["peer"].operations,
            "ours_operations": work["ours"].operations,
        }
    }


def _train(
    arguments: argparse.Namespace, config: XWAMConfig, machine: Machine, repeats: int
) -> dict[str, Any]:
    from copy import copy
    from functools import partial

    from lerobot_xwam.benching.loading import loading_advice
    from lerobot_xwam.benching.report import as_json
    from lerobot_xwam.benching.training import measure_way
    from lerobot_xwam.data.latent_store.manifest import DATASET
    from lerobot_xwam.doctor.checks.videos import torchcodec_works

    config = copy(config)
    config.device, config.push_to_hub = machine.device, False
    measure = partial(
        measure_way,
        batch=arguments.batch,
        workers=arguments.workers,
        steps=max(repeats, 5),
        video_backend=arguments.video_backend or ("torchcodec" if torchcodec_works() else "pyav"),
    )
    policy, training = measure(config, arguments.dataset, config.latent_cache)
    described = _described(arguments, policy.config, policy.net, arguments.batch)
    advice = loading_advice(training, from_latents=bool(config.latent_cache))
    more: dict[str, Any] = {"training": training}
    if arguments.latents:
        del policy  # there may be room for one only
        place = arguments.latents.expanduser()
        _, cached = measure(config, str(place / DATASET), str(place))
        more |= {"training_from_latents": cached}
        more["times_faster_from_latents"] = cached["samples_per_s"] / training["samples_per_s"]
        advice += [f"from latents: {each}" for each in loading_advice(cached, from_latents=True)]
    return as_json(machine, described, [], [], {}, [], **more, advice=advice)


def _described(arguments: argparse.Namespace, config: XWAMConfig, net: Any, batch: int) -> dict[str, Any]:
    return {
        "name": str(arguments.policy or arguments.config or arguments.preset),
        "batch": batch,
        "views": len(config.cameras),
        **{
            name: getattr(config, name)
            for name in ("height", "width", "action_steps", "video_steps", "dtype")
        },
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def _advice(policy: Any) -> list[str]:
    import torch

    found = []
    config = policy.config
    if config.dtype == "bfloat16" and policy.net.blocks[0].ffn[0].weight.dtype == torch.float32:
        found.append(
            "float32 weights are cast for every product: --policy.weights_dtype=bfloat16 moves a quarter "
            "of the bytes"
        )
    if policy._device.type == "cuda" and not config.compile_inference:
        found.append("try --compile; if it is faster, set --policy.compile_inference=true")
    return found
