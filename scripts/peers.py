"""LeRobot's own diffusion policy and ACT on our demonstrations: success on the same seeds, same compute.

    python scripts/peers.py --dataset data/train --task lift stack --minutes 60 \\
        --also xwam-small=hub_cards/xwam-small-robosuite --episodes 50 --out outputs/peers

They have no language, and lift and stack look alike: each peer is trained once per task. Compute is the time
of training on this machine: a few steps are timed, then as many are done as fit into --minutes, for each peer
and each task. Backbones start from nothing, with GroupNorm; ACT needs scripts/peering/act_from_scratch.py for
that. Settings: scripts/peering/*.json; what does not stand there is LeRobot's default. They see the very same
videos, without depth; reading them takes about a fifth of a step.

Stopped, the same command goes on where it was. Writes peers.md and peers.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import stages
from ablating.estimate import START_S, in_words
from ablating.machine import machine
from ablating.settings import keep
from peering.demonstrations import episodes_of, write_view
from peering.table import found, markdown
from resumable import BIN, LAST, seconds_per_step, train, trained_steps
from robosuite_table import UNSEEN, evaluation
from stages import Stage, say, to_the_end

from lerobot_xwam.data.latent_store.fingerprint import file_mark
from lerobot_xwam.files import appearing, held

PEERING = Path(__file__).parent / "peering"
PEERS: dict[str, dict[str, list[str]]] = {
    "diffusion": {"train": [str(BIN / "lerobot-train")], "eval": [str(BIN / "lerobot-eval")]},
    "act": {kind: [sys.executable, str(PEERING / "act_from_scratch.py"), kind] for kind in ("train", "eval")},
}
PROBED = 12  # steps that are timed before training
EPISODE_S = 13.0  # a first guess of one in the simulator


@dataclass(frozen=True)
class Bout:
    """One peer on one task."""

    peer: str
    task: str

    @property
    def name(self) -> str:
        return f"{self.peer}-{self.task}"


def main() -> int:
    arguments = parse_arguments()
    return to_the_end(lambda: compete(arguments))


def compete(arguments: argparse.Namespace) -> None:
    out = arguments.out = arguments.out.absolute()
    with held(out):
        keep(settings_of(arguments), out)
        bouts = [Bout(peer, task) for task in arguments.task for peer in arguments.peer]
        for bout in bouts:
            say(f"{bout.name}; all that is left: {left(bouts, arguments)}")
            perform(bout, arguments)
            write(arguments)
        for name, path in arguments.also:
            for task in arguments.task:
                keep_policy(arguments.out / "runs" / f"{name}-{task}", name, path)
                evaluate(f"{name}-{task}", path, task, [str(BIN / "lerobot-eval")], arguments)
        print(write(arguments))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True, help="of lerobot-xwam collect, raw, --arms 2")
    parser.add_argument("--task", nargs="+", default=["lift", "stack"], help="default: lift stack")
    parser.add_argument("--peer", nargs="+", choices=list(PEERS), default=list(PEERS), help="default: both")
    parser.add_argument("--minutes", type=float, required=True, help="of training, of each peer on each task")
    parser.add_argument("--also", type=named, nargs="+", default=[], metavar="NAME=FOLDER", help="of xwam")
    parser.add_argument("--demonstrations", type=int, help="of each task at most (default: all)")
    parser.add_argument("--episodes", type=int, default=50, help="evaluated (default 50)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first episode (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("extra", nargs="*", help="further options of lerobot-train, after --")
    arguments = parser.parse_args()
    if arguments.minutes <= 0 or arguments.episodes < 1:
        parser.error("--minutes and --episodes: more than 0 are needed")
    return arguments


def named(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{text}: wanted NAME=FOLDER")
    return name, path


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on; more peers, tasks and policies may be added later."""
    info = arguments.dataset / "meta/info.json"
    if not info.is_file():
        raise ValueError(f"--dataset {arguments.dataset}: no LeRobotDataset here (no meta/info.json)")
    return {
        "configurations": {name: json.loads((PEERING / f"{name}.json").read_text("utf-8")) for name in PEERS},
        "dataset": json.loads(info.read_text("utf-8")),
        "minutes": arguments.minutes,
        "training options": arguments.extra,
        "demonstrations": arguments.demonstrations,
        "episodes": arguments.episodes,
        "first evaluation seed": arguments.seed,
        "machine": machine(),
        **{f"version of {name}": version(name) for name in ("lerobot", "torch")},
    }


def left(bouts: list[Bout], arguments: argparse.Namespace) -> str:
    """The time for all that is still to do, in words."""
    names = [f"{name}-{task}" for name, _ in arguments.also for task in arguments.task]
    names += [bout.name for bout in bouts]
    runs = arguments.out / "runs"
    reports = [path for name in names if (path := runs / name / "success/eval_info.json").is_file()]
    measured = [json.loads(path.read_text("utf-8"))["overall"]["eval_ep_s"] for path in reports]
    seconds = (len(names) - len(reports)) * arguments.episodes * statistics.fmean(measured or [EPISODE_S])
    for bout in bouts:
        if not (runs / bout.name / "success/eval_info.json").is_file():
            folder = runs / bout.name
            done = 0.0
            if (folder / "steps.json").is_file():
                steps = json.loads((folder / "steps.json").read_text("utf-8"))["steps"]
                done = trained_steps(folder / "train") / steps
            seconds += (1 - done) * 60 * arguments.minutes + START_S
    return in_words(seconds, bool(measured))


def perform(bout: Bout, arguments: argparse.Namespace) -> None:
    """Demonstrations, timing, training, evaluation: what is not there yet."""
    folder = arguments.out / "runs" / bout.name
    data = demonstrations(bout.task, arguments)
    steps = steps_that_fit(bout, data, folder, arguments)
    command = training(bout, data, folder / "train", steps, arguments.extra)
    train(command, folder / "train", steps, bout.name, f"training for {steps} steps", folder / "logs")
    evaluate(bout.name, str(folder / "train" / LAST), bout.task, PEERS[bout.peer]["eval"], arguments)


def demonstrations(task: str, arguments: argparse.Namespace) -> tuple[Path, list[int]]:
    """The dataset as a peer sees it: one task, no depth. -> (folder, episodes)"""
    data: Path = arguments.out / "data" / task
    episodes = episodes_of(arguments.dataset, task)[: arguments.demonstrations]
    if not data.is_dir():
        write_view(arguments.dataset, task, data, arguments.demonstrations)
    return data, episodes


def training(
    bout: Bout, data: tuple[Path, list[int]], output: Path, steps: int, extra: list[str]
) -> list[str]:
    root, episodes = data
    return [
        *PEERS[bout.peer]["train"],
        f"--config_path={PEERING / f'{bout.peer}.json'}",
        f"--dataset.root={root}",
        f"--dataset.episodes={episodes}",
        f"--steps={steps}",
        f"--save_freq={max(1, steps // 5)}",
        f"--log_freq={max(1, min(25, steps // 4))}",
        "--wandb.enable=false",
        f"--output_dir={output}",
        *extra,
    ]


def steps_that_fit(
    bout: Bout, data: tuple[Path, list[int]], folder: Path, arguments: argparse.Namespace
) -> int:
    """Timed once and then kept: a training that goes on must have the schedule it began with."""
    kept = folder / "steps.json"
    if not kept.is_file():
        probe, logs = folder / "probe", folder / "probe-logs"
        shutil.rmtree(logs, ignore_errors=True)
        command = training(bout, data, probe, PROBED, arguments.extra)
        train(command, probe, PROBED, bout.name, f"timing {PROBED} steps", logs)
        seconds = seconds_per_step(logs)
        if seconds is None:
            raise ValueError(f"{logs}: no step was timed in LeRobot's output")
        shutil.rmtree(probe)
        steps = max(1, round(60 * arguments.minutes / seconds))
        with appearing(kept) as file:
            file.write_text(json.dumps({"steps": steps, "seconds of a step": seconds}), encoding="utf-8")
    return int(json.loads(kept.read_text(encoding="utf-8"))["steps"])


def evaluate(name: str, path: str, task: str, program: list[str], arguments: argparse.Namespace) -> None:
    folder = arguments.out / "runs" / name
    command = evaluation(path, task, arguments.episodes, arguments.seed, folder / "success")
    stage = Stage(
        "success",
        f"{arguments.episodes} unseen episodes of {task}",
        (*program, *command[1:]),
        result=folder / "success/eval_info.json",
        folder=folder / "success",
        bar="Stepping through eval batches",
    )
    if not stage.result.is_file():
        stages.run(stage, name, folder / "logs/success.log")


def keep_policy(folder: Path, name: str, path: str) -> None:
    """A name stands for one policy: results of an earlier one are not passed off as this one's."""
    weights = Path(path) / "model.safetensors"
    mark = {"weights": file_mark(weights) if weights.is_file() else path}
    kept = folder / "policy.json"
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) != mark:
        raise ValueError(f"{folder} holds results of another {name!r}; give this one another name")
    with appearing(kept) as file:
        file.write_text(json.dumps(mark), encoding="utf-8")


def write(arguments: argparse.Namespace) -> str:
    """The table of what there is."""
    names = [*arguments.peer, *(name for name, _ in arguments.also)]
    rows = {name: {task: found(arguments.out, name, task) for task in arguments.task} for name in names}
    text = markdown(
        rows, arguments.peer, arguments.task, arguments.minutes, arguments.episodes, arguments.seed
    )
    for file_name, written in (("peers.md", text), ("peers.json", json.dumps(rows, indent=1) + "\n")):
        with appearing(arguments.out / file_name) as file:
            file.write_text(written, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main())
