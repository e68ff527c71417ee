#!/usr/bin/env python3
"""Success under delay: chunks that ignore what was done meanwhile, and chunks that go on from it.

    python scripts/rtc_success.py --out outputs/delay             # learns to pass posts first: minutes
    python scripts/rtc_success.py --out outputs/delay --task tabletop --policy outputs/.../pretrained_model

`posts` (scripts/delaying/posts.py), the default: the tabletop world's arm past three posts, a task in which a
dropped plan hurts. `tabletop` takes any policy that was trained on `lerobot-xwam tabletop`, with
--policy.rtc_training_delay for this. Stopped, the same command goes on where it was. Writes rtc_success.json,
.md and .png.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from delaying import report
from delaying.driving import METHODS, Driver, Scene
from tqdm import tqdm

from lerobot_xwam.files import appearing, held

UNSEEN = 1_000_000  # seeds of training start at 0
BATCH = 48


def main() -> int:
    arguments = parse_arguments()
    out: Path = arguments.out.absolute()
    torch.set_num_threads(arguments.threads)
    with held(out):
        policy_path = arguments.policy or learnt(out, arguments)
        facts = {
            "task": arguments.task,
            "policy": str(arguments.policy or f"learnt here, {arguments.steps} steps"),
            "chunk every": arguments.horizon,
            "first seed": arguments.seed,
        }
        keep(out, facts)
        rows = []
        wanted = [(method, delay) for delay in arguments.delay for method in arguments.method]
        for method, delay in (bar := tqdm(wanted, desc="success", unit="run")):
            bar.set_postfix_str(f"{method}, delay {delay}")
            rows.append(measured(out, policy_path, method, delay, arguments))
            text = report.write(out, rows, facts)
    print(text)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", choices=["posts", "tabletop"], default="posts")
    parser.add_argument("--policy", type=Path, help="checkpoint (posts: learnt if not given)")
    parser.add_argument("--delay", type=int, nargs="+", default=[0, 2, 4, 8, 12], help="default 0 2 4 8 12")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["naive", "prefix"])
    parser.add_argument("--horizon", type=int, default=12, help="steps from chunk to chunk (default 12)")
    parser.add_argument("--episodes", type=int, default=200, help="of each (default 200)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first (default %(default)s)")
    parser.add_argument("--steps", type=int, default=5000, help="of learning (default 5000)")
    parser.add_argument(
        "--training-delay", type=int, default=12, help="rtc_training_delay of it (default 12)"
    )
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.policy is None and arguments.task != "posts":
        parser.error("--task tabletop needs a --policy")
    if min(arguments.delay) < 0 or arguments.episodes < 1:
        parser.error("--delay: 0 or more; --episodes: at least 1")
    return arguments


def learnt(out: Path, arguments: argparse.Namespace) -> Path:
    from delaying.learning import train

    folder, ready = out / "checkpoint", out / "learnt"
    if not ready.is_file():
        train(folder, arguments.steps, BATCH, arguments.training_delay)
        with appearing(ready) as file:
            file.write_text("")
    return folder


def keep(out: Path, facts: dict[str, Any]) -> None:
    """Runs of another policy, or another task, are not passed off as this one's."""
    kept = out / "facts.json"
    if kept.is_file() and (before := json.loads(kept.read_text(encoding="utf-8"))) != facts:
        raise ValueError(f"{out} holds runs of {before}; these are of {facts}: choose another --out")
    with appearing(kept) as file:
        file.write_text(json.dumps(facts), encoding="utf-8")


def measured(
    out: Path, policy_path: Path, method: str, delay: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    path = out / "runs" / f"{method}-{delay}-{arguments.episodes}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    row = run(policy_path, method, delay, arguments)
    with appearing(path) as file:
        file.write_text(json.dumps(row), encoding="utf-8")
    return row


def run(policy_path: Path, method: str, delay: int, arguments: argparse.Namespace) -> dict[str, Any]:
    from lerobot.policies.factory import make_pre_post_processors

    from lerobot_xwam.modeling_xwam import XWAMPolicy

    torch.manual_seed(arguments.seed + delay)
    policy = XWAMPolicy.from_pretrained(policy_path).eval()
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(policy_path))
    scenes = make_scenes(arguments, policy.config)
    Driver(policy, before, after, method, delay, arguments.horizon).drive(scenes)
    succeeded = [scene.succeeded for scene in scenes]
    return {
        "method": method,
        "delay": delay,
        "episodes": len(scenes),
        "successes": sum(succeeded),
        "succeeded": succeeded,
    }


def make_scenes(arguments: argparse.Namespace, config: Any) -> list[Scene]:
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    if arguments.task == "tabletop":
        from delaying.tabletop import TabletopScene

        return [TabletopScene(seed, config) for seed in seeds]
    from delaying.posts import Scene as PostsScene

    return [PostsScene.drawn(seed) for seed in seeds]


if __name__ == "__main__":
    sys.exit(main())
