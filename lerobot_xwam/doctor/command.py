"""The lerobot-train to type next, with the settings that the findings ask for."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lerobot_xwam.presets import FROM_NOTHING

from .findings import Finding


@dataclass(frozen=True)
class Start:
    """What training starts from, as the user said it."""

    preset: str = "wan2.2-5b"
    policy: str | None = None
    config: Path | None = None
    settings: tuple[str, ...] = ()  # NAME=VALUE


def train_command(dataset: str, root: Path, start: Start, findings: list[Finding]) -> list[str]:
    """Lines to be joined with backslashes. WEIGHTS stands for a checkpoint that the user must name."""
    local = Path(dataset).expanduser().is_dir()
    name = root.resolve().name if local else dataset.rpartition("/")[2]
    if start.policy:
        first = [f"--policy.path={start.policy}"]
    elif start.config:
        first = [f"--config_path={start.config}"]
    else:
        first = ["--policy.type=xwam", f"--policy.preset={start.preset}"]
        first += [] if start.preset in FROM_NOTHING else ["--policy.base_weights=WEIGHTS"]
    where = (
        [f"--dataset.repo_id=local/{name}", f"--dataset.root={root}"]
        if local
        else [f"--dataset.repo_id={dataset}"]
    )
    asked = [option for finding in findings for option in finding.options]
    if start.policy:  # its sizes and its reading of the data are the checkpoint's
        asked = [option for option in asked if not option.startswith("--policy.")]
    given = [f"--policy.{setting}" for setting in start.settings]
    known = {option.partition("=")[0] for option in given}
    asked = [option for option in dict.fromkeys(asked) if option.partition("=")[0] not in known]
    rest = ["--policy.push_to_hub=false", f"--output_dir=outputs/{name}"]
    options = [*first, *where, *given, *asked, *rest]
    return ["lerobot-train", *(option if "'" in option else shlex.quote(option) for option in options)]
