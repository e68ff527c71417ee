"""One run from training to its last measurement; every step that is done is not done again.

OUT/runs/channel-0/train/            lerobot-train's own folder; its checkpoints go when the run is finished
                   policy/           the averaged weights of its end, as they act
                   success/          lerobot-eval on unseen seeds
                   imagined/         lerobot-xwam evaluate-4d on held-out episodes
                   latency.json
                   logs/
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stages
from resumable import BIN, LAST, train, trained_steps
from robosuite_table import Scene, evaluation
from stages import Stage

from lerobot_xwam.data.latent_store.manifest import DATASET

from .estimate import Timings
from .variants import Run

LATENCY = Path(__file__).parent / "latency.py"
# The end of training as it acts: averaged weights; float32 is as fast as bfloat16 on a CPU and more exact.
ACTING = {
    "use_ema": False,
    "ema_decay": 0.0,
    "compile_blocks": False,
    "latent_cache": None,
    "dtype": "float32",
}


@dataclass(frozen=True)
class Workshop:
    """Where everything lies, and the settings that all runs share."""

    out: Path
    config: Path
    cache: Path
    held_out: Path
    settings: dict[str, Any]  # of settings.gather
    timings: Timings

    def folder(self, run: Run) -> Path:
        return self.out / "runs" / run.name

    def training(self, run: Run) -> list[str]:
        """lerobot-train from nothing."""
        known = self.settings
        chosen = run.variant.policy(known["video_steps"], known["action_steps"])
        episodes = known["training episodes"]
        return [
            str(BIN / "lerobot-train"),
            f"--config_path={self.config}",
            f"--dataset.root={self.cache / DATASET}",
            *([] if episodes is None else [f"--dataset.episodes={episodes}"]),
            f"--policy.latent_cache={self.cache}",
            *(f"--policy.{name}={value}" for name, value in chosen.items()),
            f"--seed={run.seed}",
            f"--steps={known['steps']}",
            f"--save_freq={max(1, known['steps'] // 10)}",
            f"--log_freq={max(1, min(50, known['steps'] // 10))}",
            "--env_eval_freq=0",
            "--wandb.enable=false",
            f"--output_dir={self.folder(run) / 'train'}",
            *known["training options"],
        ]

    def measurements(self, run: Run) -> list[tuple[Stage, int]]:
        """What is measured of a trained policy, and of how many units it consists."""
        folder, known = self.folder(run), self.settings
        policy, held = folder / "policy", known["held out"]["episodes"]
        stride = [] if known["held out stride"] is None else [f"--stride={known['held out stride']}"]
        success = Stage(
            "success",
            f"{known['episodes of each task']} unseen episodes each of {known['tasks']}",
            tuple(
                evaluation(
                    policy,
                    known["tasks"],
                    known["episodes of each task"],
                    known["first evaluation seed"],
                    folder / "success",
                    Scene(**known["scene"]),
                )
            ),
            result=folder / "success/eval_info.json",
            folder=folder / "success",
            bar="Stepping through eval batches",
        )
        imagined = Stage(
            "imagined",
            f"imagining {len(held)} held-out episodes",
            (
                str(BIN / "lerobot-xwam"),
                "evaluate-4d",
                f"--policy={policy}",
                f"--dataset={self.held_out}",
                "--episodes",
                *map(str, held),
                *stride,
                "--condition",
                "joint",
                f"--out={folder / 'imagined'}",
            ),
            result=folder / "imagined/metrics.json",
            folder=folder / "imagined",
            bar="imagining",
        )
        latency = Stage(
            "latency",
            "measuring its latency",
            (
                sys.executable,
                str(LATENCY),
                str(policy),
                f"--dataset={self.held_out}",
                f"--episode={held[0]}",
                f"--out={folder / 'latency.json'}",
            ),
            result=folder / "latency.json",
            folder=None,
            bar="acting",
        )
        episodes = known["episodes of each task"] * len(known["tasks"].split(","))
        return [(success, episodes), (imagined, len(held)), (latency, 1)]

    def todo(self, run: Run) -> list[tuple[str, int]]:
        """(kind of work, units of it) that this run still needs."""
        left = [(stage.name, units) for stage, units in self.measurements(run) if not stage.result.is_file()]
        if left and not (self.folder(run) / "policy").is_dir():  # of a finished run it may be removed
            steps = self.settings["steps"] - trained_steps(self.folder(run) / "train")
            left.insert(0, ("train", steps))
        return left


def perform(workshop: Workshop, run: Run, say_left: Callable[[], None]) -> None:
    """Whatever of the run is not there yet. `say_left` tells the time left for everything."""
    folder, steps = workshop.folder(run), workshop.settings["steps"]
    logs, train_folder, policy = folder / "logs", folder / "train", folder / "policy"
    if not policy.is_dir():
        say_left()
        done = trained_steps(train_folder)
        doing = f"training for {steps} steps"
        with workshop.timings.of("train", run.variant.name, steps - done):
            train(workshop.training(run), train_folder, steps, run.name, doing, logs)
        export(train_folder / LAST, policy)
    for stage, units in workshop.measurements(run):
        if not stage.result.is_file():
            say_left()
            with workshop.timings.of(stage.name, run.variant.name, units):
                stages.run(stage, run.name, logs / f"{stage.name}.log")
    shutil.rmtree(train_folder / "checkpoints", ignore_errors=True)  # optimiser states: several GB in all


def export(checkpoint: Path, policy: Path) -> None:
    """The policy that is measured: the checkpoint's averaged weights, without what only training needs."""
    partial = policy.with_name(f".{policy.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    averaged = checkpoint / "ema.safetensors"
    shutil.copy(
        averaged if averaged.is_file() else checkpoint / "model.safetensors", partial / "model.safetensors"
    )
    for file in (*checkpoint.glob("policy_*processor*"), checkpoint / "train_config.json"):
        shutil.copy(file, partial)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if missing := ACTING.keys() - config.keys():
        raise ValueError(
            f"{checkpoint / 'config.json'}: no {', '.join(sorted(missing))}; wanted a policy of xwam"
        )
    (partial / "config.json").write_text(json.dumps({**config, **ACTING}, indent=4), encoding="utf-8")
    os.rename(partial, policy)
