"""What decides the output of a conversion."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

OnBad = Literal["drop", "refuse"]


@dataclass(frozen=True)
class Settings:
    source: str
    fps: float = 0.0  # of the source; 0: that of the first episode. Another rate is a bad episode
    action_skip: int = 1  # frames per action: every so many frames are kept
    height: int = 0  # of the pictures; 0: as they are
    width: int = 0
    depth: Literal["required", "optional", "none"] = "required"
    depth_code: Literal["inverse", "linear"] = "inverse"  # what 0..255 of a depth video means
    depth_near: float = 0.1  # metres at 255 (inverse) or 0 (linear)
    depth_far: float = 10.0
    inverse_gripper: bool = False
    instructions: Literal["required", "optional"] = "required"
    on_bad: OnBad = "drop"
    episodes_per_shard: int = 20
    limit: int = 0  # episodes; 0: all

    def __post_init__(self) -> None:
        if self.action_skip < 1 or self.episodes_per_shard < 1:
            raise ValueError(
                f"action_skip={self.action_skip}, episodes_per_shard={self.episodes_per_shard}: 1 or more"
            )
        if not 0 < self.depth_near < self.depth_far:
            raise ValueError(
                f"depth_near={self.depth_near}, depth_far={self.depth_far}: need 0 < near < far, in metres"
            )
        if (self.height > 0) != (self.width > 0) or min(self.height, self.width) < 0:
            raise ValueError(f"size {self.height} x {self.width}: give both, or neither to keep the source's")

    def same_as(self, file: Path) -> None:
        """Refuse to go on with what other settings have begun."""
        before = json.loads(file.read_text(encoding="utf-8"))
        differ = [name for name, value in self.plain().items() if before.get(name) != value]
        if differ:
            shown = ", ".join(f"{name}: {before.get(name)!r} -> {self.plain()[name]!r}" for name in differ)
            raise ValueError(
                f"{file.parent} was begun with other settings ({shown}). Use those, or remove the folder"
            )

    def plain(self) -> dict[str, Any]:
        return asdict(self)
