"""The shipped small X-WAM at work: it acts in a simulator, imagines, and is trained on.

Run by quickstart.sh. Each stage is one command that you could type yourself; it stands at the top of its log.
A stage whose result is there already is not run again: an interrupted quickstart goes on where it stopped.
"""

import argparse
import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from stages import Stage, clock, nice, run, say, to_the_end

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent  # the commands of this environment, activated or not
SHIPPED = ROOT / "hub_cards/xwam-small-robosuite"
TASKS = ("lift", "stack", "two_arm_lift")
UNSEEN = 1_000_000  # seeds of training start at 0


def stages(out: Path, settings: argparse.Namespace, device: str) -> list[Stage]:
    """The whole quickstart."""
    collected = settings.collect * len(TASKS)
    scene = ("--env.type=xwam_robosuite", "--env.cameras=front,hand,second", "--env.arms=2")
    return [
        Stage(
            "eval",
            f"{settings.episodes} unseen episodes of each task in simulation: {', '.join(TASKS)}",
            (
                str(BIN / "lerobot-eval"),
                f"--policy.path={SHIPPED}",
                f"--policy.device={device}",
                *scene,
                "--env.interface=raw",
                f"--env.task={','.join(TASKS)}",
                f"--eval.n_episodes={settings.episodes}",
                "--eval.batch_size=1",
                "--eval.use_async_envs=false",
                f"--seed={UNSEEN}",
                f"--output_dir={out / 'eval'}",
            ),
            result=out / "eval/eval_info.json",
            folder=out / "eval",
            bar="Running rollout",
        ),
        Stage(
            "collect",
            f"collecting {collected} demonstrations of scripted experts, with depth",
            (
                str(BIN / "lerobot-xwam"),
                "collect",
                f"--task={','.join(TASKS)}",
                "--interface=raw",
                "--arms=2",
                "--cameras",
                "front",
                "hand",
                "second",
                f"--episodes={collected}",
                f"--seed={UNSEEN + 1000}",
                f"--out={out / 'dataset'}",
            ),
            result=out / "dataset/meta/info.json",
            folder=out / "dataset",
            bar="collecting",
        ),
        Stage(
            "imagine",
            "imagining one of them from its first frames, in RGB and depth",
            (
                str(BIN / "lerobot-xwam"),
                "imagine",
                f"--policy={SHIPPED}",
                f"--dataset={out / 'dataset'}",
                "--episode=0",
                f"--device={device}",
                f"--out={out / 'imagined'}",
            ),
            result=out / "imagined/imagined.json",
            folder=out / "imagined",
            bar="imagining",
        ),
        Stage(
            "train",
            f"fine-tuning for {settings.steps} steps on the new demonstrations, on {device}",
            (
                str(BIN / "lerobot-train"),
                f"--policy.path={SHIPPED}",
                f"--policy.device={device}",
                "--policy.push_to_hub=false",
                "--policy.compile_blocks=false",
                "--policy.ema_decay=0",
                "--policy.optimizer_lr=1e-4",
                f"--policy.scheduler_warmup_steps={max(1, settings.steps // 10)}",
                "--dataset.repo_id=local/quickstart",
                f"--dataset.root={out / 'dataset'}",
                "--dataset.video_backend=pyav",
                f"--steps={settings.steps}",
                f"--batch_size={settings.batch_size}",
                "--num_workers=1",
                f"--log_freq={max(1, settings.steps // 5)}",
                "--env_eval_freq=0",
                "--save_freq=0",
                f"--output_dir={out / 'train'}",
            ),
            result=out / "train/checkpoints/last/pretrained_model/model.safetensors",
            folder=out / "train",
            bar="Training",
        ),
    ]


def main() -> int:
    settings = parse_arguments()
    return to_the_end(lambda: show(settings))


def show(settings: argparse.Namespace) -> None:
    out: Path = settings.output.resolve()
    if settings.fresh:
        for name in ("dataset", "train", "eval", "imagined", "logs"):
            shutil.rmtree(out / name, ignore_errors=True)
    refuse_other_settings(out, settings)
    start = time.monotonic()
    todo = stages(out, settings, settings.device or find_device())
    say(f"quickstart: four stages, a few minutes; results in {nice(out)}")
    new = False  # what follows a stage that ran now is out of date
    for number, stage in enumerate(todo, start=1):
        position = f"{number}/{len(todo)}"
        if stage.result.exists() and not new:
            say(f"{position} {stage.doing}: done before")
            continue
        run(stage, position, out / "logs" / f"{stage.name}.log")
        new = True
    summarise(out, time.monotonic() - start)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart.sh",
        description="A small X-WAM acts in a simulator, imagines and learns on, in minutes on a CPU.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs/quickstart", help="folder for everything"
    )
    parser.add_argument("--episodes", type=at_least_one, default=4, help="evaluated of each task")
    parser.add_argument("--collect", type=at_least_one, default=2, help="new demonstrations of each task")
    parser.add_argument("--steps", type=at_least_one, default=20, help="of the fine-tuning")
    parser.add_argument("--batch-size", type=at_least_one, default=8, help="clips per step")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default=None, help="the GPU if there is one, else CPU"
    )
    parser.add_argument("--fresh", action="store_true", help="do everything again, finished or not")
    return parser.parse_args()


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, wanted at least 1")
    return value


def find_device() -> str:
    import torch  # takes seconds, so not for --help

    return "cuda" if torch.cuda.is_available() else "cpu"


def refuse_other_settings(out: Path, settings: argparse.Namespace) -> None:
    """Stages of different settings must not be mixed into one result."""
    kept = out / "settings.json"
    ours = {
        name: getattr(settings, name.replace("-", "_"))
        for name in ("episodes", "collect", "steps", "batch-size")
    }
    if kept.exists() and not settings.fresh and (theirs := json.loads(kept.read_text())) != ours:
        raise SystemExit(
            f"[xwam] {nice(out)} holds a quickstart with other settings ({theirs}, now {ours}): "
            "add --fresh to replace it, or choose another folder with --output"
        )
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(ours))


def summarise(out: Path, seconds: float) -> None:
    say(f"finished in {clock(seconds)}.")
    results = json.loads((out / "eval/eval_info.json").read_text())
    for task, successes in by_task(results).items():
        say(f"  {task:<14} {sum(successes)} of {len(successes)} episodes succeeded")
    imagined = json.loads((out / "imagined/imagined.json").read_text())
    still = imagined["psnr_if_nothing_moved"]
    say(f"  imagination    {imagined['psnr']:.1f} dB PSNR (a world that stands still: {still:.1f} dB)")
    losses = re.findall(r"\bloss:([\d.]+)", (out / "logs/train.log").read_text(encoding="utf-8"))
    if losses:
        say(f"  training loss  {losses[0]} -> {losses[-1]} (so few steps only show that it runs)")
    say("Look at:")
    for folder in ("imagined", "eval"):
        for picture in sorted((out / folder).rglob("*.*")):
            if picture.suffix in {".html", ".png", ".gif", ".mp4"}:
                say(f"  {nice(picture)}")
    say(f"The four commands are at the top of the logs in {nice(out / 'logs')}.")


def by_task(results: dict[str, Any]) -> dict[str, list[bool]]:
    """{task: did each of its episodes succeed?}"""
    return {each["task_group"]: list(each["metrics"]["successes"]) for each in results["per_task"]}


if __name__ == "__main__":
    sys.exit(main())
