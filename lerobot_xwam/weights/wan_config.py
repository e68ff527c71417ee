"""config.json of a Wan model in the original layout: what the shapes of its weights do not tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPS = 1e-6  # of all norms; the network has no other


@dataclass(frozen=True)
class WanConfig:
    path: Path
    values: dict[str, Any]

    @property
    def heads(self) -> int:
        for name in ("num_heads", "num_attention_heads"):
            if isinstance(self.values.get(name), int):
                return self.values[name]
        raise ValueError(f"{self.path}: does not say num_heads")


def read_wan_config(path: Path) -> WanConfig:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a JSON object is wanted")
    if values.get("eps", EPS) != EPS:
        raise ValueError(f"{path}: eps {values['eps']}; this network computes with {EPS}")
    return WanConfig(path, values)


def find_wan_config(
    config_path: Path, config: Mapping[str, Any], given: Path | None = None
) -> WanConfig | None:
    """The one named, the one beside config.yaml, or the one in the folder that config.yaml names."""
    if given is not None:
        return read_wan_config(given / "config.json" if given.is_dir() else given)
    folder = config_path.absolute().parent
    places = [folder / "wan_config.json"]
    if named := config.get("wan_checkpoint_dir"):
        places.append(folder / str(named) / "config.json")
    return next((read_wan_config(place) for place in places if place.is_file()), None)
