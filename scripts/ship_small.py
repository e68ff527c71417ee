"""Turn a training's checkpoint into the folder that stands on the Hub: averaged weights in half precision.

Its README.md is written by hand and stays, and so do the pictures and numbers beside it.

    python scripts/ship_small.py outputs/small/checkpoints/last/pretrained_model \\
        --results outputs/table/ours/eval_info.json --out hub_cards/xwam-small-robosuite
    python scripts/ship_small.py outputs/play/checkpoints/last/pretrained_model --out hub_cards/xwam-tiny-play
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from safetensors.torch import load_file, save_file

from lerobot_xwam import XWAMConfig
from lerobot_xwam.evaluation_results import EvaluationResults
from lerobot_xwam.publishing import without_local_paths

EMA, WEIGHTS, RESULTS = "ema.safetensors", "model.safetensors", "eval_info.json"
BY_HAND = ("README.md", "imagined.png", "follow.json")  # what else stands in such a folder


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--results", type=Path, help="eval_info.json of lerobot-eval")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    config = PreTrainedConfig.from_pretrained(options.checkpoint)
    if not isinstance(config, XWAMConfig):
        raise SystemExit(f"{options.checkpoint}: a {config.type!r} policy, no X-WAM checkpoint")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shipping-", dir=options.out.parent) as workshop:
        folder = Path(workshop) / options.out.name
        folder.mkdir()
        averaged = options.checkpoint / EMA
        weights = load_file(averaged if averaged.is_file() else options.checkpoint / WEIGHTS)
        half = {name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}
        save_file(half, folder / WEIGHTS)
        for file in options.checkpoint.glob("policy_*processor*"):
            shutil.copy(file, folder)
        # Training's own: bfloat16 products and compiled blocks. To act, float32 is as fast and more exact.
        config.dtype, config.weights_dtype, config.compile_blocks = "float32", "float32", False
        config.use_ema, config.ema_decay, config.device = False, 0.0, None
        training = TrainPipelineConfig.from_pretrained(options.checkpoint)
        with without_local_paths(config, training):
            config.save_pretrained(folder)
            training.save_pretrained(folder)
        if options.results:
            write_results(options.results, folder / RESULTS)
        for kept in (*BY_HAND, *([] if options.results else [RESULTS])):
            if (options.out / kept).is_file():
                shutil.copy(options.out / kept, folder)
        for file in folder.glob("*.safetensors"):
            file.chmod(0o644)  # safetensors writes files that only their owner can read
        shutil.rmtree(options.out, ignore_errors=True)
        folder.rename(options.out)
    size = sum(file.stat().st_size for file in options.out.iterdir()) / 1e6
    print(f"{options.out}: {size:.1f} MB")


def write_results(source: Path, target: Path) -> None:
    """Every episode's outcome, without the folders of this machine."""
    EvaluationResults.read(source)  # refuses what does not agree with itself
    held = json.loads(source.read_text(encoding="utf-8"))
    tasks = [
        {
            "task_group": each["task_group"],
            "task_id": each["task_id"],
            "metrics": {"successes": each["metrics"]["successes"]},
        }
        for each in held["per_task"]
    ]
    overall = {name: held["overall"][name] for name in ("pc_success", "n_episodes")}
    target.write_text(json.dumps({"per_task": tasks, "overall": overall}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
