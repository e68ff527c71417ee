"""The policy that a command is about: a checkpoint, the configuration of a training, or a preset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerobot_xwam.configuration_xwam import XWAMConfig


def read_policy(
    *,
    policy: str | None = None,
    config: Path | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
) -> XWAMConfig:
    """One of the three, with NAME=VALUE settings on top."""
    import tempfile

    from draccus.utils import ParsingError
    from lerobot.configs import PreTrainedConfig

    from lerobot_xwam.configuration_xwam import XWAMConfig

    for each in settings:
        if each.partition("=")[0] not in XWAMConfig.__dataclass_fields__ or "=" not in each:
            raise ValueError(f"--set {each}: wanted NAME=VALUE of a policy setting")
    overrides = [f"--{each}" for each in settings]
    if policy:
        known = PreTrainedConfig.from_pretrained(policy, cli_overrides=overrides)
        known.pretrained_path = Path(policy)
    else:
        written = _of_training(config) if config else {"type": "xwam", "preset": preset, "device": "cpu"}
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(written), encoding="utf-8")
            try:
                known = PreTrainedConfig.from_pretrained(folder, cli_overrides=overrides)
            except ParsingError as error:
                raise ValueError(f"policy settings: {error.__cause__ or error}") from error
    if not isinstance(known, XWAMConfig):
        raise ValueError(f"{policy or config}: a {known.type!r} policy, this is for xwam only")
    return known


def _of_training(config: Path) -> dict[str, Any]:
    try:
        return json.loads(config.read_text(encoding="utf-8"))["policy"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--config {config}: no configuration of lerobot-train with a policy ({error})"
        ) from error
