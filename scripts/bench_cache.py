"""Training samples per second without and with cached latents, on this machine.

Writes episodes of the tabletop world (three cameras with depth), caches their latents, and trains the tiny
preset three ways: from frames, from the cache with LeRobot still decoding the videos, and from the cache with
the dataset that has none. One process does all (no data workers): the figures are costs, nothing overlaps.
Prints what the machine is, then one line of JSON.

    python scripts/bench_cache.py
    python scripts/bench_cache.py --size 240 320 --batch 2     # frames as cameras give them
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=2, help="default 2")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(64, 80), metavar=("H", "W"), help="of the videos"
    )
    parser.add_argument("--variants", type=int, default=2, help="default 2")
    parser.add_argument("--batch", type=int, default=4, help="default 4")
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each way (default 10)")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as folder:
        print(json.dumps(bench(Path(folder), arguments)))
    return 0


def bench(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from lerobot_xwam.cli.main import main as lerobot_xwam
    from lerobot_xwam.envs.tabletop.dataset import write_dataset

    print(f"machine: {describe(arguments.device)}", flush=True)
    root = write_dataset(
        folder / "data", episodes=arguments.episodes, size=tuple(arguments.size), depth=True, task="lift"
    )
    policy = {"type": "xwam", "preset": "tiny", "device": arguments.device, "push_to_hub": False}
    (folder / "train.json").write_text(json.dumps({"policy": policy}))
    cache = folder / "cache"
    command = ["cache-latents", "--config", str(folder / "train.json"), "--dataset", str(root)]
    start = time.perf_counter()
    if code := lerobot_xwam([*command, "--out", str(cache), f"--variants={arguments.variants}"]):
        raise SystemExit(code)
    making = time.perf_counter() - start
    ways = {
        "from frames": (root, None),
        "cache, videos still decoded": (root, cache),
        "cache, no videos": (cache / "dataset", cache),
    }
    result: dict[str, Any] = {
        "machine": describe(arguments.device),
        "videos": list(arguments.size),
        "batch": arguments.batch,
        "steps": arguments.steps,
        "cache_seconds": round(making, 1),
        "cache_mb": round(sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) / 1e6, 1),
    }
    for name, (place, latents) in ways.items():
        result[name] = measured = train(place, latents, arguments)
        print(f"{name:>28}: {measured['samples_per_s']:7.2f} samples/s {measured}", flush=True)
    rates = [result[name]["samples_per_s"] for name in ways]
    result["times_faster"] = round(rates[2] / rates[0], 2)
    return result


def train(root: Path, latents: Path | None, arguments: argparse.Namespace) -> dict[str, float]:
    """Steps as lerobot-train takes them: items, batch, forward, backward, optimiser."""
    from lerobot.datasets import LeRobotDataset, LeRobotDatasetMetadata
    from lerobot.datasets.factory import resolve_delta_timestamps
    from lerobot.policies.factory import make_policy, make_pre_post_processors
    from torch.utils.data import default_collate

    from lerobot_xwam import XWAMConfig

    torch.manual_seed(0)
    config = XWAMConfig(
        preset="tiny",
        device=arguments.device,
        push_to_hub=False,
        latent_cache=None if latents is None else str(latents),
    )
    deltas = resolve_delta_timestamps(config, LeRobotDatasetMetadata("local/bench", root=root))
    dataset = LeRobotDataset(
        "local/bench", root=root, delta_timestamps=deltas, video_backend="pyav", return_uint8=True
    )
    policy = make_policy(config, ds_meta=dataset.meta).train()
    preprocess, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-4)
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)).repeat(20).tolist()
    spent = {"data_s": 0.0, "model_s": 0.0}
    for step in range(-2, arguments.steps):  # two to warm up
        indices = [order.pop() for _ in range(arguments.batch)]
        start = time.perf_counter()
        batch = preprocess(default_collate([dataset[index] for index in indices]))
        middle = time.perf_counter()
        loss, _ = policy.forward(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if arguments.device.startswith("cuda"):
            torch.cuda.synchronize()
        if step >= 0:
            spent["data_s"] += middle - start
            spent["model_s"] += time.perf_counter() - middle
    samples = arguments.batch * arguments.steps
    rate = samples / sum(spent.values())
    return {"samples_per_s": round(rate, 2)} | {k: round(v / samples, 4) for k, v in spent.items()}


def describe(device: str) -> str:
    """Processor, threads and, if used, GPU."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    gpu = f", {torch.cuda.get_device_name()}" if device.startswith("cuda") else ""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    version = f"torch {torch.__version__}, commit {commit.stdout.strip() or 'unknown'}"
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads{load}{gpu}, {version}"


if __name__ == "__main__":
    sys.exit(main())
