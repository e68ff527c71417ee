"""Do chunks meet without a jump? A closed loop on the mock robot with an artificial delay of 1 to 12 actions.

    python scripts/plot_rtc.py --out outputs/rtc

Drives the robot at a fixed rate: 15 actions of each chunk, and every chunk takes `delay` actions of time.
Second differences of what was sent, where two chunks meet: of naive switching and of real-time chunking, with
the same noise. Time is simulated, so the result does not depend on the machine. Writes rtc.json and rtc.png.

--motion known   smooth random motions; in the place of the network is what the best one would say, in closed
                 form (scripts/rtc_loop/known.py): what chunking itself does, however long one trains
--motion wipe    smooth sweeps whose direction nothing tells, demonstrated and learnt: some minutes on a CPU
--motion lift    the shipped expert lifts a cube. Its gripper closes within five actions, and this bends as
                 much as a bad switch does: rtc.json has what the demonstrations do, and nothing that
                 imitates them can be smoother

For the last two it records demonstrations, caches their latents and trains a small policy, or takes yours
(--policy, with the dataset that it was trained on). Stopped, the same command goes on after the last stage.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from ablating.settings import keep
from resumable import BIN, LAST
from rtc_loop.demonstrations import TASKS
from rtc_loop.driving import EXECUTED, METHODS, Pilot, drive, returns_whole_chunk
from rtc_loop.jumps import Drive, Roughness, anywhere, at_borders, within_chunks
from rtc_loop.known import known_pilot, motions
from rtc_loop.report import write_report
from stages import Stage, StageFailed, run, say
from tqdm import tqdm

from lerobot_xwam.safety.guard import XWAMGuardActionStep

HERE = Path(__file__).parent
MODEL = HERE / "rtc_loop/model.json"
KNOWN = "known"
UNSEEN = 1000  # seeds of the tables from here on


def main() -> int:
    settings = parse_arguments()
    out: Path = settings.out
    try:
        content = measure(*subject(settings), settings)
    except (StageFailed, ValueError) as failure:
        print(failure, file=sys.stderr)
        return 1
    write_report(out, content)
    for row in content["delays"]:
        naive, ours = (row[method]["at_borders"] for method in METHODS)
        say(
            f"delay {row['delay']:2d}: largest {naive['largest']:.4f} -> {ours['largest']:.4f}, RMS "
            f"{naive['rms']:.4f} -> {ours['rms']:.4f}, {row['prefix']['gaps']} gaps"
        )
    worst = content["worst_ratio"]
    say(f"jumps are at least {worst['largest']:.1f} (largest) and {worst['rms']:.1f} (RMS) times smaller")
    say(f"a chunk that is given entirely comes back unchanged: {content['whole_chunk_unchanged']}")
    return 0


def subject(settings: argparse.Namespace) -> tuple[Pilot, Roughness]:
    """-> (what drives, how rough the motions are that it knows)"""
    if settings.motion == KNOWN:
        drawn = motions(count=20, steps=settings.ticks, seed=0)
        return known_pilot(), anywhere([Drive(each, [], 0) for each in drawn])
    checkpoint, dataset = settings.policy, settings.dataset
    if checkpoint is None:
        made = {name: vars(settings)[name] for name in ("motion", "demonstrations", "steps", "fps")}
        keep(made, settings.out)
        checkpoint, dataset = train(settings.out, **made)
    pilot = Pilot.load(checkpoint, *action_range(dataset), TASKS[settings.motion])
    return pilot, demonstrated(dataset, pilot)


def train(out: Path, motion: str, demonstrations: int, steps: int, fps: int) -> tuple[Path, Path]:
    """-> (checkpoint, dataset)"""
    data, latents, trained = out / "demonstrations", out / "latents", out / "train"
    stages = [
        Stage(
            "demonstrations",
            f"recording {demonstrations} demonstrations on the mock robot ({motion})",
            (
                sys.executable,
                str(HERE / "rtc_loop/demonstrations.py"),
                str(data),
                str(demonstrations),
                str(fps),
                motion,
            ),
            result=data / "meta/info.json",
            folder=data,
            bar="demonstrations",
        ),
        Stage(
            "latents",
            "caching latents",
            (
                *(str(BIN / "lerobot-xwam"), "cache-latents", f"--config={MODEL}", f"--dataset={data}"),
                *("--variants=1", f"--out={latents}"),
            ),
            result=latents / "dataset/meta/info.json",
            folder=None,
            bar="caching",
        ),
        Stage(
            "train",
            "training a small policy",
            (
                *(str(BIN / "lerobot-train"), f"--config_path={MODEL}", f"--policy.latent_cache={latents}"),
                *(f"--dataset.root={latents / 'dataset'}", f"--output_dir={trained}"),
                *(f"--steps={steps}", f"--save_freq={steps}"),
            ),
            result=trained / LAST / "model.safetensors",
            folder=trained,
            bar="Training",
        ),
    ]
    for number, stage in enumerate(stages, start=1):
        done = out / "logs" / f"{stage.name}.done"
        if not (done.exists() and stage.result.exists()):
            run(stage, f"{number}/{len(stages)}", out / "logs" / f"{stage.name}.log")
            done.touch()
    return trained / LAST, data


def action_range(dataset: Path) -> tuple[torch.Tensor, torch.Tensor]:
    stats = json.loads((dataset / "meta/stats.json").read_text(encoding="utf-8"))["action"]
    return torch.tensor(stats["min"]), torch.tensor(stats["max"])


def demonstrated(dataset: Path, pilot: Pilot) -> Roughness:
    """How rough the motion is that was learnt."""
    drives = []
    for file in sorted((dataset / "data").rglob("*.parquet")):
        table = pq.read_table(file, columns=["action", "episode_index"])
        actions = torch.tensor(table["action"].to_pylist())
        episodes = np.array(table["episode_index"])
        scaled = pilot.scaled(actions).double().numpy()
        drives += [Drive(scaled[episodes == episode], [], 0) for episode in np.unique(episodes)]
    return anywhere(drives)


def measure(pilot: Pilot, learnt: Roughness, settings: argparse.Namespace) -> dict[str, Any]:
    """Every delay, method and episode. -> rtc.json"""
    config = pilot.policy.config
    most = config.chunk_size - EXECUTED
    if not 1 <= min(settings.delays) <= max(settings.delays) <= most:
        raise ValueError(f"--delays {settings.delays}: wanted 1 to {most}, what is left of a chunk")
    seeds = range(UNSEEN, UNSEEN + settings.episodes)
    # What it changes is part of the numbers; one warning an episode would hide the bar.
    logging.getLogger(XWAMGuardActionStep.__module__).setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(settings.delays) * len(METHODS) * len(seeds), desc="driving", unit="episode") as bar:
        for delay in settings.delays:
            row: dict[str, Any] = {"delay": delay}
            for method in METHODS:
                drives = []
                for seed in seeds:
                    drives.append(drive(pilot, method, delay, seed, settings.fps, settings.ticks))
                    bar.update()
                row[method] = {
                    "at_borders": at_borders(drives).as_json(),
                    "within_chunks": within_chunks(drives).as_json(),
                    "borders": sum(len(each.borders) for each in drives),
                    "gaps": sum(each.gaps for each in drives),
                }
            rows.append(row)
    return {
        "motion": settings.motion,
        "fps": settings.fps,
        "chunk": config.chunk_size,
        "executed": EXECUTED,
        "action_steps": config.action_steps,
        "unit": "range of each action in the demonstrations",
        "episodes": len(seeds),
        "demonstrations": learnt.as_json(),
        "delays": rows,
        "worst_ratio": {
            name: min(row["naive"]["at_borders"][name] / row["prefix"]["at_borders"][name] for row in rows)
            for name in Roughness.__dataclass_fields__
        },
        "whole_chunk_unchanged": returns_whole_chunk(pilot, UNSEEN, settings.fps),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", type=Path, help="checkpoint folder (wipe, lift; default: one is trained)")
    parser.add_argument("--dataset", type=Path, help="the dataset that --policy was trained on")
    parser.add_argument("--motion", choices=[KNOWN, *TASKS], default=KNOWN, help="default known")
    parser.add_argument("--demonstrations", type=int, default=40, help="to train on (default 40)")
    parser.add_argument("--steps", type=int, default=3000, help="of training (default 3000)")
    parser.add_argument("--delays", type=int, nargs="+", default=list(range(1, 13)), help="default 1 to 12")
    parser.add_argument("--episodes", type=int, default=10, help="driven for each delay (default 10)")
    parser.add_argument("--ticks", type=int, default=75, help="actions of an episode (default 75)")
    parser.add_argument("--fps", type=int, default=15, help="control rate (default 15)")
    parser.add_argument("--out", type=Path, default=Path("outputs/rtc"))
    settings = parser.parse_args()
    if (settings.policy is None) != (settings.dataset is None):
        parser.error("give --policy and --dataset, or none of them")
    if settings.policy is not None and settings.motion == KNOWN:
        parser.error("--policy: say what it does, --motion lift or --motion wipe")
    settings.out = settings.out.resolve()
    return settings


if __name__ == "__main__":
    sys.exit(main())
