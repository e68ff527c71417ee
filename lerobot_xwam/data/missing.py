"""What a training would need and is not there, said before LeRobot looks for it on the Hub.

LeRobot hands the policy nothing of the dataset before it has opened it; its own commands read their words
from the command line again, and so does this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lerobot.configs import parser
from lerobot.utils.constants import HF_LEROBOT_HOME

PLACEHOLDER = "YOUR_"  # of configs/*.json, to be filled in
LOCAL = "local/"  # datasets that are on no Hub


def refuse_missing(base_weights: str | None) -> None:
    """Within a command that trains; nothing is asked elsewhere."""
    file = parser.parse_arg("config_path")
    held = _dataset_of(Path(file)) if file else {}
    name, root = (parser.parse_arg(f"dataset.{key}") or held.get(key) for key in ("repo_id", "root"))
    if name is None:
        return
    missing = []
    if base_weights and PLACEHOLDER in base_weights:
        missing.append(
            f"policy.base_weights is still {base_weights!r}: the pretrained weights to start from, e.g. made "
            "with lerobot-xwam convert-wan (--policy.base_weights=FOLDER)"
        )
    if PLACEHOLDER in name:
        missing.append(f"dataset.repo_id is still {name!r}: your dataset (--dataset.repo_id, --dataset.root)")
    elif name.startswith(LOCAL):
        folder = Path(root) if root else HF_LEROBOT_HOME / name
        if not (folder / "meta" / "info.json").is_file():
            missing.append(
                f"dataset {name!r}: {folder.absolute()} holds none (no meta/info.json). A mixture is made "
                "with lerobot-xwam mix --recipe configs/mixtures/pretrain.json --out FOLDER, which names "
                "the sources that are missing; any other with lerobot-xwam convert-dataset or lerobot-record"
            )
    if missing:
        listed = "\n  ".join(missing)
        raise ValueError(f"this training cannot start, {len(missing)} thing(s) missing:\n  {listed}")


def _dataset_of(file: Path) -> dict[str, Any]:
    """The dataset's part of a configuration; {} if there is none to read here, LeRobot says why."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("dataset")
    except (OSError, ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}
