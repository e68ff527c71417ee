r"""Write the model card of a checkpoint from its own files, and results only from an evaluation's file.

CHECKPOINT is a folder that lerobot-train or a conversion wrote (config.json and model.safetensors, or an
adapter). Results come from the eval_info.json of lerobot-eval, given by hand, with their episode counts.

Examples:
  lerobot-xwam card outputs/train/checkpoints/last/pretrained_model
  lerobot-xwam card outputs/train/checkpoints/last/pretrained_model --results outputs/eval/eval_info.json \
      --repo-id me/my-xwam --out README.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerobot_xwam.model_card import CheckpointFacts

HELP = "write the model card of a checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder with config.json")
    parser.add_argument("--out", type=Path, help="file to write (default: print it)")
    parser.add_argument("--results", type=Path, metavar="FILE.json", help="eval_info.json of lerobot-eval")
    parser.add_argument("--repo-id", help="Hub name in the commands (default: that of the training)")
    parser.add_argument("--license", default="apache-2.0", help="default apache-2.0, as Wan2.2's weights")


def run(arguments: argparse.Namespace) -> None:
    from lerobot.configs import PreTrainedConfig

    from lerobot_xwam.configuration_xwam import XWAMConfig
    from lerobot_xwam.evaluation_results import EvaluationResults
    from lerobot_xwam.files import appearing
    from lerobot_xwam.model_card import render_model_card

    folder = _checkpoint_folder(arguments.checkpoint.expanduser())
    facts = _facts(folder)
    config = PreTrainedConfig.from_pretrained(folder)
    if not isinstance(config, XWAMConfig):
        raise ValueError(f"{folder}: a {config.type!r} policy, no X-WAM checkpoint")
    training = _training(folder)
    results = EvaluationResults.read(arguments.results) if arguments.results else None
    card = render_model_card(
        config,
        training.dataset if training else None,
        arguments.license,
        None,
        training,
        repo_id=arguments.repo_id,
        results=results,
        checkpoint=facts,
    )
    if arguments.out is None:
        print(card)
        return
    with appearing(arguments.out) as temporary:
        temporary.write_text(str(card), encoding="utf-8")
    print(f"card of {folder}: {arguments.out}")


def _checkpoint_folder(folder: Path) -> Path:
    """Also found: `pretrained_model` inside of a checkpoint of lerobot-train."""
    if (folder / "pretrained_model").is_dir():
        folder = folder / "pretrained_model"
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no X-WAM checkpoint; such a folder holds config.json and model.safetensors, or an "
            "adapter"
        )
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no configuration of a LeRobot policy") from error
    if kind != "xwam":
        raise ValueError(f"{folder}: no X-WAM checkpoint, but a policy of type {kind!r}")
    return folder


def _facts(folder: Path) -> CheckpointFacts:
    """From the weights' table of contents; the weights themselves are not read."""
    from math import prod

    from lerobot_xwam.model_card import CheckpointFacts
    from lerobot_xwam.weights.safetensors_index import read_file

    adapter = None
    path = folder / "model.safetensors"
    if not path.is_file():
        path = folder / "adapter_model.safetensors"
        if not path.is_file() or not (folder / "adapter_config.json").is_file():
            raise FileNotFoundError(f"{folder}: no X-WAM checkpoint, it holds neither weights nor an adapter")
        held = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        adapter = held.get("base_model_name_or_path") or "a base that adapter_config.json does not name"
    tensors = read_file(path).values()
    return CheckpointFacts(
        parameters=sum(prod(tensor.shape) for tensor in tensors),
        dtypes=sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}),
        bytes=path.stat().st_size,
        adapter_of=adapter,
        conversion=_conversion(folder),
    )


def _conversion(folder: Path) -> str | None:
    path = folder / "conversion.json"
    return json.loads(path.read_text(encoding="utf-8"))["title"] if path.is_file() else None


def _training(folder: Path) -> Any:
    """Steps, batch, seed and dataset of the run, where the checkpoint has its train_config.json."""
    path = folder / "train_config.json"
    if not path.is_file():
        return None
    held = json.loads(path.read_text(encoding="utf-8"))
    dataset = (held.get("dataset") or {}).get("repo_id")
    return argparse.Namespace(
        steps=_steps(folder, held.get("steps")),
        batch_size=held.get("batch_size"),
        seed=held.get("seed"),
        dataset=dataset if isinstance(dataset, str) else None,
    )


def _steps(folder: Path, planned: Any) -> str:
    """How far this checkpoint got; only lerobot-train's own folders know."""
    path = folder.resolve().parent / "training_state" / "training_step.json"
    if not path.is_file():
        return f"{planned} (as planned; the checkpoint does not say how many were taken)"
    done = json.loads(path.read_text(encoding="utf-8"))["step"]
    return str(done) if done == planned else f"{done} of {planned}"
