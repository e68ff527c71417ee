"""A LeRobot checkpoint of ours on disk, read without building the policy: weights, settings, statistics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from lerobot.utils.constants import ACTION, OBS_STATE, POLICY_PREPROCESSOR_DEFAULT_NAME

from .conversion import refuse_strange_dtypes, refuse_unexplained
from .safetensors_index import read_file
from .stored import Stored

PREFIX = "net."
PACK_STEP = "xwam_pack"


@dataclass(frozen=True)
class LeRobotFolder:
    path: Path
    settings: dict[str, Any]  # config.json
    network: dict[str, Stored]  # by our names, without `net.`


def read_lerobot_folder(path: Path) -> LeRobotFolder:
    weights, config = path / SAFETENSORS_SINGLE_FILE, path / "config.json"
    if not weights.is_file() or not config.is_file():
        adapter = " It is an adapter: merge it into its base first." if _is_adapter(path) else ""
        raise FileNotFoundError(
            f"{path}: a LeRobot checkpoint of X-WAM holds {config.name} and {weights.name}.{adapter}"
        )
    settings = json.loads(config.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or settings.get("type") != "xwam":
        raise ValueError(f"{config}: not an X-WAM policy")
    held = read_file(weights)
    refuse_strange_dtypes(weights, held)
    refuse_unexplained(weights, [name for name in held if not name.startswith(PREFIX)])
    return LeRobotFolder(path, settings, {n.removeprefix(PREFIX): tensor for n, tensor in held.items()})


def read_statistics(path: Path) -> dict[str, dict[str, list[float]]] | None:
    """Quantiles of state and action from the saved scaling; None where the folder has no processors."""
    pipeline = path / f"{POLICY_PREPROCESSOR_DEFAULT_NAME}.json"
    if not pipeline.is_file():
        return None
    steps = json.loads(pipeline.read_text(encoding="utf-8"))["steps"]
    files = [step.get("state_file") for step in steps if step.get("registry_name") == PACK_STEP]
    if not files or not files[0]:
        raise ValueError(f"{pipeline}: has no {PACK_STEP} step with saved statistics")
    saved = {name: tensor.read().double() for name, tensor in read_file(path / files[0]).items()}
    result = {}
    for key, name in ((OBS_STATE, "state"), (ACTION, "action")):
        center, half = saved[f"{name}_center"], saved[f"{name}_half"]
        result[key] = {"q01": (center - half).tolist(), "q99": (center + half).tolist()}
    return result


def _is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").is_file()
