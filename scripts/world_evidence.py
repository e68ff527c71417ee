"""Is the imagined world true? Held-out episodes against baselines, and opposite actions against a simulator.

    python scripts/world_evidence.py --policy hub_cards/xwam-small-robosuite --episodes 6 --windows 3 \\
        --out outputs/evidence

collects episodes of unseen seeds (or takes those of --dataset), runs `lerobot-xwam evaluate-4d` over them
with the rows of the video codec, and asks what happens if other things are done: at moments of these
episodes, what was recorded next and straight motions along the axes, each with its opposite. Both are
imagined from the same noise and done in the simulator, so the truth is known for each. Writes evidence.json
with every number, evidence.md and evidence.png. Stopped, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ablating.machine import machine
from ablating.settings import keep
from evidencing.report import write_report
from evidencing.simulator import Collected, Simulator, starts
from evidencing.trial import try_all

from lerobot_xwam.cli.main import main as lerobot_xwam
from lerobot_xwam.data.latent_store.fingerprint import file_mark
from lerobot_xwam.files import appearing, held

UNSEEN = 2_000_000  # trainings' seeds start at 0, evaluations' at 1,000,000


def main(given: list[str] | None = None) -> int:
    arguments = parse_arguments(given)
    try:
        with held(arguments.out):
            keep(settings_of(arguments), arguments.out)
            dataset = arguments.dataset or collected(arguments)
            metrics = prediction(dataset, arguments)
            found = actions(dataset, arguments)
            about = {"starts per episode": arguments.starts, "machine": machine()}
            if arguments.say:
                about["said when other things are done"] = arguments.say
            print(write_report(arguments.out, Collected.read(dataset).tasks, metrics, found, about))
    except (ValueError, OSError) as error:
        print(f"world_evidence: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parse_arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", required=True, help="checkpoint folder or Hub id")
    parser.add_argument("--dataset", type=Path, help="of `lerobot-xwam collect --camera-matrices --noise 0`")
    parser.add_argument("--task", default="lift,stack,two_arm_lift", help="to collect (default %(default)s)")
    parser.add_argument("--interface", default="raw", choices=["raw", "ee"], help="to collect (default raw)")
    parser.add_argument("--episodes", type=int, default=12, help="to collect (default 12)")
    parser.add_argument("--seed", type=int, default=UNSEEN, help="of the first episode (default %(default)s)")
    parser.add_argument("--windows", type=int, default=3, help="of each episode (default 3)")
    parser.add_argument("--starts", type=int, default=2, help="of each episode for actions (default 2)")
    parser.add_argument(
        "--say", metavar="TEXT", help="when other things are done, e.g. 'move about' (default: the episode's)"
    )
    parser.add_argument("--video-steps", type=int, help="denoising steps (default: the policy's)")
    parser.add_argument("--device", default="cpu", help="default cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    arguments = parser.parse_args(given)
    for name in ("episodes", "windows", "starts"):
        if vars(arguments)[name] < 1:
            parser.error(f"--{name} {vars(arguments)[name]}: at least 1 is needed")
    return arguments


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on: a folder holds those of one policy."""
    settings = {name: value for name, value in vars(arguments).items() if name not in ("out", "device")}
    weights = Path(arguments.policy) / "model.safetensors"
    return {
        **settings,
        "dataset": str(arguments.dataset),
        "weights": file_mark(weights) if weights.is_file() else "",
    }


def collected(arguments: argparse.Namespace) -> Path:
    """Episodes that nobody trained on."""
    folder = arguments.out / "held-out"
    if not folder.is_dir():
        command = ["collect", f"--task={arguments.task}", "--arms=2", "--cameras", "front", "hand", "second"]
        command += [f"--interface={arguments.interface}", f"--episodes={arguments.episodes}", "--workers=1"]
        run(*command, f"--seed={arguments.seed}", "--camera-matrices", f"--out={folder}")
    return folder


def prediction(dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """evaluate-4d's numbers."""
    folder = arguments.out / "4d"
    if not folder.is_dir():
        command = ["evaluate-4d", f"--policy={arguments.policy}", f"--dataset={dataset}", f"--out={folder}"]
        command += [
            f"--windows={arguments.windows}",
            "--codec-rows",
            "--keep-still",
            f"--device={arguments.device}",
        ]
        run(*command, *([f"--video-steps={arguments.video_steps}"] if arguments.video_steps else []))
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def run(*command: str) -> None:
    if code := lerobot_xwam(list(command)):
        raise KeyboardInterrupt if code == 130 else ValueError(f"lerobot-xwam {command[0]} failed: see above")


def actions(dataset: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every pair of opposite actions at every start; what is known already is not tried again."""
    from tqdm import tqdm

    from lerobot_xwam.world.opening import Episodes, open_policy

    opened = open_policy(arguments.policy, arguments.device, arguments.video_steps)
    episodes, kept = Episodes.open(str(dataset), opened.policy.config), Collected.read(dataset)
    model, found = opened.world_model(episodes.fps), []
    every = sorted(starts(episodes, kept, arguments.starts), key=lambda start: start.task)
    folder, simulator, task = arguments.out / "actions", None, ""
    try:
        for start in tqdm(every, desc="opposite actions", unit="start"):
            path = folder / f"{start.name}.json"
            if not path.is_file():
                if simulator is None or task != start.task:
                    if simulator is not None:
                        simulator.close()
                    simulator, task = Simulator(opened, kept.options(start.task)), start.task
                with appearing(path) as file:
                    picture = folder / f"{start.name}.png"
                    pairs = try_all(model, simulator, start, picture, said=arguments.say)
                    file.write_text(json.dumps(pairs, indent=1, allow_nan=False), encoding="utf-8")
            found += json.loads(path.read_text(encoding="utf-8"))
    finally:
        if simulator is not None:
            simulator.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
