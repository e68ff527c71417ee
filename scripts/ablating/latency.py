"""How long a policy takes for its next actions: one frame encoded, all action steps, one observation.

python scripts/ablating/latency.py CHECKPOINT --dataset HELD_OUT --out latency.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch
from machine import machine
from tqdm import tqdm

from lerobot_xwam.files import appearing
from lerobot_xwam.world.opening import Episodes, open_policy

WARM_UP, MEASURED = 3, 20


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--episode", type=int, default=0)
    parser.add_argument("--chunks", type=int, default=MEASURED, help="measured (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    opened = open_policy(options.policy)
    policy = opened.policy
    episodes = Episodes.open(options.dataset, policy.config)
    batch = opened.preprocess(episodes.window(options.episode, 0))
    seconds = []
    for number in tqdm(range(WARM_UP + options.chunks), desc="acting", unit="chunk"):
        start = time.perf_counter()
        policy.predict_action_chunk(batch).cpu()  # so that a GPU has finished
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    found = {
        "median_ms": 1000 * statistics.median(seconds),
        "fastest_ms": 1000 * min(seconds),
        "slowest_ms": 1000 * max(seconds),
        "chunks": len(seconds),
        "warm_up": WARM_UP,
        "action_steps": policy.config.action_steps,
        "device": str(next(policy.parameters()).device),
        "threads": torch.get_num_threads(),
        "machine": machine(),
        # other work on the machine makes a policy look slow: more running processes than cores
        "load": round(os.getloadavg()[0], 2),
        "busy": os.getloadavg()[0] > (os.cpu_count() or 1) + 0.5,
    }
    with appearing(options.out) as file:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
