"""From nothing to a trained toy X-WAM in minutes: data, training, evaluation, imagination.

Run by quickstart.sh. Each stage is one command that you could type yourself; it stands at the top of its log.
A stage whose result is there already is not run again: an interrupted quickstart goes on where it stopped.
"""

import argparse
import json
import re
import shutil
import signal
import sys
import time
from pathlib import Path

from stages import Stage, StageFailed, clock, nice, run, say

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent  # the commands of this environment, activated or not


def stages(out: Path, settings: argparse.Namespace, device: str) -> list[Stage]:
    """The whole quickstart."""
    policy = out / "train/checkpoints/last/pretrained_model"
    seen = [str(episode) for episode in range(settings.episodes)]
    return [
        Stage(
            "dataset",
            f"recording {settings.episodes + 1} expert episodes with three RGB-D cameras",
            (
                str(BIN / "lerobot-xwam"),
                "tabletop",
                f"--episodes={settings.episodes + 1}",
                f"--out={out / 'dataset'}",
            ),
            result=out / "dataset/meta/info.json",
            folder=out / "dataset",
            bar="episodes",
        ),
        Stage(
            "latents",
            "encoding all training windows once, so that training need not",
            (
                str(BIN / "lerobot-xwam"),
                "cache-latents",
                f"--config={ROOT / 'configs/tiny.json'}",
                f"--dataset={out / 'dataset'}",
                # the last episode is kept unseen, for the imagination
                "--episodes",
                *seen,
                "--variants=1",
                f"--device={device}",
                f"--out={out / 'latents'}",
            ),
            result=out / "latents/dataset/meta/info.json",
            folder=out / "latents",
            bar="caching latents",
        ),
        Stage(
            "train",
            f"training the tiny X-WAM for {settings.steps} steps on {device}",
            (
                str(BIN / "lerobot-train"),
                f"--config_path={ROOT / 'configs/tiny.json'}",
                f"--policy.device={device}",
                f"--policy.scheduler_warmup_steps={max(1, settings.steps // 20)}",
                f"--policy.latent_cache={out / 'latents'}",
                f"--dataset.root={out / 'latents/dataset'}",
                f"--dataset.episodes=[{','.join(seen)}]",
                f"--steps={settings.steps}",
                f"--batch_size={settings.batch_size}",
                "--num_workers=1",
                f"--log_freq={max(1, settings.steps // 10)}",
                "--save_freq=0",
                f"--output_dir={out / 'train'}",
            ),
            result=policy / "model.safetensors",
            folder=out / "train",
            bar="Training",
        ),
        Stage(
            "eval",
            f"running it for {settings.eval_episodes} episodes in simulation",
            (
                str(BIN / "lerobot-eval"),
                f"--policy.path={policy}",
                f"--policy.device={device}",
                "--env.type=xwam_tabletop",
                f"--eval.n_episodes={settings.eval_episodes}",
                f"--eval.batch_size={min(2, settings.eval_episodes)}",
                "--eval.use_async_envs=false",
                f"--output_dir={out / 'eval'}",
            ),
            result=out / "eval/eval_info.json",
            folder=out / "eval",
            bar="Running rollout",
        ),
        Stage(
            "imagine",
            "imagining an unseen episode in RGB and depth",
            (
                str(BIN / "lerobot-xwam"),
                "imagine",
                f"--policy={policy}",
                f"--dataset={out / 'dataset'}",
                f"--episode={settings.episodes}",
                f"--device={device}",
                f"--out={out / 'imagined'}",
            ),
            result=out / "imagined/imagined.json",
            folder=out / "imagined",
            bar="imagining",
        ),
    ]


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no stage is left running
    settings = parse_arguments()
    out: Path = settings.output.resolve()
    if settings.fresh:
        for name in ("dataset", "latents", "train", "eval", "imagined", "logs"):
            shutil.rmtree(out / name, ignore_errors=True)
    refuse_other_settings(out, settings)
    start = time.monotonic()
    todo = stages(out, settings, settings.device or find_device())
    say(f"quickstart: five stages, a few minutes; results in {nice(out)}")
    new = False  # what follows a stage that ran now is out of date
    try:
        for number, stage in enumerate(todo, start=1):
            position = f"{number}/{len(todo)}"
            if stage.result.exists() and not new:
                say(f"{position} {stage.doing}: done before")
                continue
            run(stage, position, out / "logs" / f"{stage.name}.log")
            new = True
    except StageFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped; run it again to go on from here (finished stages are kept)")
        return 130
    summarise(out, time.monotonic() - start)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart.sh",
        description="A toy X-WAM from nothing, on a CPU in minutes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "outputs/quickstart", help="folder for everything"
    )
    parser.add_argument("--episodes", type=at_least_one, default=8, help="expert episodes to train on")
    parser.add_argument("--steps", type=at_least_one, default=800, help="training steps")
    parser.add_argument("--batch-size", type=at_least_one, default=8, help="clips per step")
    parser.add_argument("--eval-episodes", type=at_least_one, default=4, help="episodes in simulation")
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
        for name in ("episodes", "steps", "batch-size", "eval-episodes")
    }
    if kept.exists() and not settings.fresh and (theirs := json.loads(kept.read_text())) != ours:
        raise SystemExit(
            f"[xwam] {nice(out)} holds a quickstart with other settings ({theirs}, now {ours}): "
            "add --fresh to replace it, or choose another folder with --output"
        )
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(ours))


def summarise(out: Path, seconds: float) -> None:
    losses = re.findall(r"\bloss:([\d.]+)", (out / "logs/train.log").read_text(encoding="utf-8"))
    overall = json.loads((out / "eval/eval_info.json").read_text())["overall"]
    episodes = round(overall["n_episodes"])
    lifted = round(overall["pc_success"] * episodes / 100)
    say(f"finished in {clock(seconds)}.")
    if losses:
        say(f"  training loss  {losses[0]} -> {losses[-1]}")
    say(f"  success        {lifted} of {episodes} (so little training rarely lifts anything)")
    imagined = json.loads((out / "imagined/imagined.json").read_text())
    still = imagined["psnr_if_nothing_moved"]
    say(f"  imagination    {imagined['psnr']:.1f} dB PSNR (a world that stands still: {still:.1f} dB)")
    say("Look at:")
    for picture in sorted((out / "imagined").rglob("*.*")):
        if picture.suffix in {".png", ".gif", ".mp4"}:
            say(f"  {nice(picture)}")
    say(f"  {nice(out / 'eval')}  (the episodes in simulation)")
    say(f"The five commands are at the top of the logs in {nice(out / 'logs')}.")


if __name__ == "__main__":
    sys.exit(main())
