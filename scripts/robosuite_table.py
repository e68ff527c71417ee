"""Success rates of policies in the robosuite tasks, on the same unseen seeds, with 95 % intervals.

    python scripts/robosuite_table.py --policy ours=hub_cards/xwam-small-robosuite \\
        --policy act=outputs/act/checkpoints/last/pretrained_model --episodes 50 --out outputs/table

Each policy is one run of lerobot-eval. A finished one is not run again, if it was of the same weights and
settings, which are kept in NAME.settings.json; results of others are refused. Options of lerobot-eval come
after --. Writes table.md and table.json.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lerobot_xwam.data.latent_store.fingerprint import file_mark
from lerobot_xwam.data.latent_store.manifest import differences, listed
from lerobot_xwam.evaluation_results import EvaluationResults
from lerobot_xwam.files import appearing, held

BIN = Path(sys.executable).parent
UNSEEN = 1_000_000  # seeds of training start at 0
Z = 1.959964  # two-sided 95 %
RESULTS = "eval_info.json"


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    try:
        with held(arguments.out):
            rows = [
                {"policy": name, "path": path, "tasks": evaluate(name, path, arguments)}
                for name, path in arguments.policy
            ]
            table = as_markdown(rows)
            for name, text in (("table.json", json.dumps(rows, indent=1)), ("table.md", table)):
                with appearing(arguments.out / name) as file:
                    file.write_text(text, encoding="utf-8")
    except (ValueError, OSError, subprocess.CalledProcessError) as problem:
        print(f"robosuite_table.py: {problem}", file=sys.stderr)
        return 1
    print(table)
    return 0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--policy", action="append", type=named, required=True, metavar="NAME=FOLDER", help="repeatable"
    )
    parser.add_argument("--task", default="lift,stack,two_arm_lift", help="default: %(default)s")
    parser.add_argument("--episodes", type=int, default=50, help="of each task (default 50)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first episode (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    words = sys.argv[1:] if argv is None else argv
    end = words.index("--") if "--" in words else len(words)
    parser.set_defaults(extra=words[end + 1 :])
    arguments = parser.parse_args(words[:end])
    if arguments.episodes < 1:
        parser.error(f"--episodes {arguments.episodes}: 1 or more")
    names = [name for name, _ in arguments.policy]
    if len(set(names)) < len(names):
        parser.error(f"--policy: {', '.join(names)}: each needs a name of its own")
    return arguments


def named(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path or "/" in name or name.startswith("."):
        raise argparse.ArgumentTypeError(f"{text}: wanted NAME=FOLDER")
    return name, path


def evaluate(name: str, path: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One run of lerobot-eval, or what an earlier one of the same settings found."""
    folder = arguments.out / name
    if not keep(settings_of(path, arguments), folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
        command = evaluation(path, arguments.task, arguments.episodes, arguments.seed, folder)
        subprocess.run([*command, *arguments.extra], check=True)
    found = EvaluationResults.read(folder / RESULTS)
    return [
        {
            "task": each.group,
            "successes": each.successes,
            "episodes": each.episodes,
            "interval": wilson(each.successes, each.episodes),
        }
        for each in found.tasks
    ]


def settings_of(path: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on. Weights are known by what they are, not by where they lie."""
    folder = Path(path)
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return {
        "policy": {file.name: file_mark(file) for file in files} or path,
        "task": arguments.task,
        "episodes": arguments.episodes,
        "seed": arguments.seed,
        "options": arguments.extra,
    }


def keep(settings: dict[str, Any], folder: Path) -> bool:
    """Write them beside the results; whether the results are there already. Refuses those of others."""
    file, finished = folder.with_name(f"{folder.name}.settings.json"), (folder / RESULTS).is_file()
    if finished and not file.is_file():
        raise ValueError(f"{folder} holds results of unknown settings: choose another --out, or remove it")
    if finished:
        before = json.loads(file.read_text(encoding="utf-8"))
        if changes := list(differences(before, json.loads(json.dumps(settings)))):
            raise ValueError(
                f"{folder} holds results of other settings:{listed(changes)}\n"
                "One table compares like with like: choose another --out, or another name"
            )
        return True
    with appearing(file) as new:
        new.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return False


@dataclass(frozen=True)
class Scene:
    """What a policy sees of the simulator, and what its actions are; by default as the shipped model."""

    cameras: str = "front,hand,second"
    arms: int = 2
    interface: str = "raw"


def evaluation(
    path: str | Path, tasks: str, episodes: int, seed: int, folder: Path, scene: Scene | None = None
) -> list[str]:
    """The command that every policy of every table is evaluated with."""
    scene = scene or Scene()
    return [
        str(BIN / "lerobot-eval"),
        f"--policy.path={path}",
        "--env.type=xwam_robosuite",
        f"--env.task={tasks}",
        f"--env.cameras={scene.cameras}",
        f"--env.arms={scene.arms}",
        f"--env.interface={scene.interface}",
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
