"""Success rates of policies in the robosuite tasks, on the same unseen seeds, with 95 % intervals.

    python scripts/robosuite_table.py --policy ours=hub_cards/xwam-small-robosuite \\
        --policy act=outputs/act/checkpoints/last/pretrained_model --episodes 50 --out outputs/table

Each policy is one run of lerobot-eval; a finished one is not run again. Writes table.md and table.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from lerobot_xwam.evaluation_results import EvaluationResults
from lerobot_xwam.files import appearing

BIN = Path(sys.executable).parent
UNSEEN = 1_000_000  # seeds of training start at 0
Z = 1.959964  # two-sided 95 %


def main() -> int:
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for each in arguments.policy:
        name, _, path = each.partition("=")
        if not path:
            raise SystemExit(f"--policy {each}: wanted NAME=FOLDER")
        rows.append({"policy": name, "path": path, "tasks": evaluate(name, path, arguments)})
    table = as_markdown(rows)
    for name, text in (("table.json", json.dumps(rows, indent=1)), ("table.md", table)):
        with appearing(arguments.out / name) as file:
            file.write_text(text, encoding="utf-8")
    print(table)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", action="append", required=True, metavar="NAME=FOLDER", help="repeatable")
    parser.add_argument("--task", default="lift,stack,two_arm_lift", help="default: %(default)s")
    parser.add_argument("--episodes", type=int, default=50, help="of each task (default 50)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first episode (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("extra", nargs="*", help="further arguments of lerobot-eval, after --")
    return parser.parse_args()


def evaluate(name: str, path: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One run of lerobot-eval, or what an earlier one found."""
    folder = arguments.out / name
    if not (folder / "eval_info.json").is_file():
        command = evaluation(path, arguments.task, arguments.episodes, arguments.seed, folder)
        subprocess.run([*command, *arguments.extra], check=True)
    found = EvaluationResults.read(folder / "eval_info.json")
    return [
        {
            "task": each.group,
            "successes": each.successes,
            "episodes": each.episodes,
            "interval": wilson(each.successes, each.episodes),
        }
        for each in found.tasks
    ]


def evaluation(path: str | Path, tasks: str, episodes: int, seed: int, folder: Path) -> list[str]:
    """The command that every policy of every table is evaluated with."""
    return [
        str(BIN / "lerobot-eval"),
        f"--policy.path={path}",
        "--env.type=xwam_robosuite",
        f"--env.task={tasks}",
        "--env.cameras=front,hand,second",
        "--env.arms=2",
        "--env.interface=raw",
        f"--eval.n_episodes={episodes}",
        "--eval.batch_size=1",
        "--eval.use_async_envs=false",
        f"--seed={seed}",
        f"--output_dir={folder}",
    ]


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """95 % interval of a success rate, good for few episodes and near 0 and 1 (Wilson's score)."""
    rate, weight = successes / episodes, Z * Z / episodes
    middle = (rate + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(rate * (1 - rate) / episodes + weight / (4 * episodes))
    return max(0.0, middle - half), min(1.0, middle + half)


def as_markdown(rows: list[dict[str, Any]]) -> str:
    tasks = [each["task"] for each in rows[0]["tasks"]]
    lines = [f"| policy | {' | '.join(tasks)} |", f"|---|{'---|' * len(tasks)}"]
    for row in rows:
        cells = [
            f"{each['successes']}/{each['episodes']} = {100 * each['successes'] / each['episodes']:.0f} % "
            f"({100 * each['interval'][0]:.0f} to {100 * each['interval'][1]:.0f})"
            for each in row["tasks"]
        ]
        lines.append(f"| {row['policy']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
