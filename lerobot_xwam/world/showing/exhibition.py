"""What is shown together: futures of one moment, what really happened, and how to see both in space."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lerobot_xwam.space.rotations import Array
from lerobot_xwam.world.footage import Footage
from lerobot_xwam.world.scores import Scene

TRUTH = "what happened"


@dataclass(frozen=True)
class Exhibition:
    """Footages have the names under which they are shown."""

    futures: Sequence[Footage]  # of equal shapes
    truth: Footage | None  # may be shorter than the futures: an episode ends
    scene: Scene
    task: str
    followed: frozenset[str]  # futures whose actions led to the truth, or are to be held against it
    not_fused: Mapping[str, str]  # camera without calibration -> why

    @property
    def footages(self) -> list[Footage]:
        """What happened, then what was imagined."""
        return [*([] if self.truth is None else [self.truth]), *self.futures]

    @property
    def cameras(self) -> tuple[str, ...]:
        return self.futures[0].cameras

    @property
    def frames(self) -> int:
        return self.futures[0].frames

    @cached_property
    def has_clouds(self) -> bool:
        return self.scene.rig is not None and any(each.metres is not None for each in self.footages)

    def effectors(self, footage: Footage) -> Array | None:
        """F arms 4 4"""
        return self.scene.poses(footage)

    def camera_poses(self, footage: Footage, camera: str) -> Array | None:
        """Room <- camera at every frame, F 4 4; None: not known."""
        rig = self.scene.rig
        if rig is None or camera not in rig.cameras:
            return None
        return np.asarray(rig.cameras[camera].poses(self.effectors(footage), footage.frames))

    def intrinsics(self, camera: str) -> Array | None:
        """Of the network's picture. 3 3"""
        rig = self.scene.rig
        if rig is None or camera not in rig.cameras:
            return None
        held = rig.cameras[camera]
        return self.scene.grid.intrinsics(held.intrinsics, held.size)


def first_frames(footage: Footage, count: int) -> Footage:
    """Without what comes later."""
    metres = None if footage.metres is None else footage.metres[:, :count]
    return replace(footage, rgb=footage.rgb[:, :count], metres=metres, states=footage.states[:count])


def short(camera: str) -> str:
    return camera.removeprefix("observation.images.")


def file_names(names: Sequence[str]) -> list[str]:
    """Names of files or folders that tell the same, each once."""
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed" for name in names]
    return [f"{each}-{i}" if plain.count(each) > 1 else each for i, each in enumerate(plain)]
