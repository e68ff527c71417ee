"""Evaluates a checkpoint on all tasks of RoboCasa or RoboTwin 2.0 and prints the table beside the paper's.

    scripts/eval_robocasa.sh --policy YOUR_NAME/xwam-robocasa --out outputs/robocasa-eval
    scripts/eval_robotwin.sh --policy YOUR_NAME/xwam-robotwin --gpus 0 1 2 3 --per-gpu 2 --out outputs/rt

Resumable: run the same command again, and only what is missing or failed is run. Options of lerobot-eval come
after --, for example `-- --policy.source=robocasa --policy.benchmark=robocasa` for a checkpoint of a mixture.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarking.benchmarks import BENCHMARKS
from benchmarking.running import Plan, run_all
from benchmarking.table import as_markdown

from lerobot_xwam.files import appearing, held

SETTINGS = "settings.json"


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    benchmark = BENCHMARKS[arguments.benchmark]
    plan = Plan(
        arguments.policy,
        arguments.episodes,
        arguments.seed,
        arguments.batch,
        arguments.out.expanduser().absolute(),
        tuple(arguments.extra),
    )
    try:
        jobs = benchmark.jobs(arguments.tasks, arguments.settings)
        with held(plan.out):
            refuse_other_settings(plan, arguments.benchmark)
            failed = run_all(plan, benchmark, jobs, arguments.gpus or [""], arguments.per_gpu)
            table = as_markdown(plan, benchmark, jobs, failed)
            with appearing(plan.out / "table.md") as file:
                file.write_text(table, encoding="utf-8")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 1
    print(table)
    return 1 if failed else 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("benchmark", choices=list(BENCHMARKS))
    parser.add_argument("--policy", required=True, help="a checkpoint: folder or Hub id")
    parser.add_argument("--out", type=Path, required=True, help="folder of results, logs, films and table.md")
    parser.add_argument("--episodes", type=int, default=100, help="per task (default 100, as in the paper)")
    parser.add_argument(
        "--seed", type=int, default=100_000, help="of the first episode (default %(default)s)"
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="environments side by side in a task (default 1)"
    )
    parser.add_argument(
        "--gpus", nargs="+", metavar="N", help="numbers of the GPUs (default: as the system has it)"
    )
    parser.add_argument(
        "--per-gpu", type=int, default=1, metavar="N", help="tasks at a time on each (default 1)"
    )
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="only these")
    parser.add_argument(
        "--settings", nargs="+", metavar="SETTING", help="robotwin: clean, randomized (default both)"
    )
    words = sys.argv[1:] if argv is None else argv
    end = words.index("--") if "--" in words else len(words)  # argparse loses what follows lists of words
    parser.set_defaults(extra=words[end + 1 :])
    arguments = parser.parse_args(words[:end])
    for name in ("episodes", "batch", "per_gpu"):
        if (given := getattr(arguments, name)) < 1:
            parser.error(f"--{name.replace('_', '-')} {given}: 1 or more")
    return arguments


def refuse_other_settings(plan: Plan, benchmark: str) -> None:
    """A folder holds the results of one policy under one protocol."""
    now = {
        "benchmark": benchmark,
        "policy": plan.policy,
        "episodes": plan.episodes,
        "seed": plan.seed,
        "batch": plan.batch,  # decides which seeds an episode gets
        "extra": list(plan.extra),
    }
    file = plan.out / SETTINGS
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        if changed := [
            f"{name}: was {before.get(name)}, is {value}"
            for name, value in now.items()
            if before.get(name) != value
        ]:
            raise ValueError(
                f"{plan.out} holds results of other settings ({'; '.join(changed)}): choose another --out"
            )
        return
    with appearing(file) as new:
        new.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
