"""The paper's two ablations at small size and equal compute: where depth travels, and how noise is drawn.

    lerobot-xwam collect --task lift --cameras front hand --interface raw --episodes 100 --noise 0.5 \\
        --out data/lift
    lerobot-xwam collect --task lift --cameras front hand --interface raw --episodes 12 --seed 700000 \\
        --out data/held-out
    lerobot-xwam cache-latents --config configs/ablation.json --dataset data/lift --variants 1 \\
        --out data/latents
    python scripts/ablation.py --cache data/latents --held-out data/held-out --out outputs/ablation

Six variants with several seeds each are trained by lerobot-train from one latent cache, then measured:
success by lerobot-eval on unseen seeds, PSNR and AbsRel by lerobot-xwam evaluate-4d on held-out episodes, and
the latency of a chunk of actions. Writes ablation.md, ablation.json and ablation.png after every run. A
stopped one goes on with the same command: an interrupted training from its last checkpoint, exactly.

Further options of lerobot-train, the same for all runs, can follow after "--".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ablating.estimate import Timings, in_words
from ablating.measuring import Workshop, perform
from ablating.report import write_report
from ablating.results import Result
from ablating.settings import gather, keep
from ablating.variants import VARIANTS, Run, all_runs
from robosuite_table import UNSEEN
from stages import say, to_the_end

from lerobot_xwam.files import held

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    arguments = parse_arguments()
    return to_the_end(lambda: ablate(arguments))


def ablate(arguments: argparse.Namespace) -> None:
    workshop = open_workshop(arguments)
    with held(workshop.out):
        keep(workshop.settings, workshop.out)
        runs = all_runs(arguments.only, arguments.seeds)
        if arguments.latency_again:
            for path in workshop.out.glob("runs/*/latency.json"):
                if (path.parent / "policy").is_dir():
                    path.unlink()
        if not arguments.report:
            perform_all(workshop, runs, arguments.seeds)
        print(report(workshop, arguments.seeds))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="latent cache with depth, for training")
    parser.add_argument(
        "--held-out", type=Path, required=True, help="dataset with videos that nothing trains on"
    )
    parser.add_argument("--held-out-episodes", type=int, nargs="+", metavar="N", help="default: all")
    parser.add_argument("--stride", type=int, help="frames between imagined windows (default: the chunk)")
    parser.add_argument(
        "--config", type=Path, default=ROOT / "configs/ablation.json", help="default: ablation.json"
    )
    parser.add_argument("--steps", type=int, help="of every training (default: the configuration's)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each variant (default 3)")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="variants")
    parser.add_argument("--task", default="lift", help="default: %(default)s")
    parser.add_argument("--episodes", type=int, default=20, help="of each task and run (default 20)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first episode (default %(default)s)")
    parser.add_argument("--latency-again", action="store_true", help="of all runs, on a quiet machine now")
    parser.add_argument("--report", action="store_true", help="only write the tables of what is there")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("extra", nargs="*", help="further options of lerobot-train, after --")
    arguments = parser.parse_args()
    for name in ("steps", "seeds", "episodes", "stride"):
        if (value := vars(arguments)[name]) is not None and value < 1:
            parser.error(f"--{name} {value}: at least 1 is needed")
    return arguments


def open_workshop(arguments: argparse.Namespace) -> Workshop:
    out, cache = arguments.out.absolute(), arguments.cache.absolute()
    held_out = arguments.held_out.absolute()
    settings = gather(
        arguments.config,
        cache,
        held_out,
        arguments.held_out_episodes or episodes_of(held_out),
        steps=arguments.steps,
        tasks=arguments.task,
        episodes=arguments.episodes,
        first_seed=arguments.seed,
        stride=arguments.stride,
        extra=arguments.extra,
    )
    timings = Timings(out / "timings.jsonl")
    return Workshop(out, arguments.config.absolute(), cache, held_out, settings, timings)


def perform_all(workshop: Workshop, runs: list[Run], seeds: int) -> None:
    """All that is missing, with the time it will take before and in between."""
    for number, run in enumerate(runs, start=1):
        if not workshop.todo(run):
            say(f"{run.name}: done before")
            continue

        def say_left(number: int = number, run: Run = run) -> None:
            say(f"run {number} of {len(runs)}, {run.name}; all that is left: {left(workshop, runs)}")

        perform(workshop, run, say_left)
        report(workshop, seeds)


def left(workshop: Workshop, runs: list[Run]) -> str:
    """The time for all that is still to do."""
    expected = [
        workshop.timings.seconds(kind, run.variant.name, units)
        for run in runs
        for kind, units in workshop.todo(run)
    ]
    return in_words(sum(seconds for seconds, _ in expected), all(measured for _, measured in expected))


def report(workshop: Workshop, seeds: int) -> str:
    """Of every run that there is, wanted now or not."""
    runs = all_runs(list(VARIANTS), max(seeds, seeds_in(workshop.out)))
    found = [Result.read(run, workshop.folder(run)) for run in runs]
    return write_report(workshop.out, workshop.settings, [each for each in found if each.values], seeds)


def seeds_in(out: Path) -> int:
    numbers = [int(path.name.rpartition("-")[2]) for path in (out / "runs").glob("*-*")]
    return max(numbers, default=-1) + 1


def episodes_of(dataset: Path) -> list[int]:
    from lerobot.datasets import LeRobotDatasetMetadata

    if not (dataset / "meta/info.json").is_file():
        raise ValueError(f"--held-out {dataset}: no LeRobotDataset here (no meta/info.json)")
    return list(range(LeRobotDatasetMetadata("local/held-out", root=dataset).total_episodes))


if __name__ == "__main__":
    sys.exit(main())
