"""Depth and camera matrices of an environment -> the names, layout and unit that the datasets use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.processor import ObservationProcessorStep
from lerobot.utils.constants import OBS_IMAGES, OBS_STR

DEPTH_UNITS = ("mm", "m")
MILLIMETRES = 1000.0


def check_depth_unit(unit: str) -> str:
    """The unit's name, if there is one of that name."""
    if unit not in DEPTH_UNITS:
        raise ValueError(f"depth_unit: got {unit!r}, wanted one of {DEPTH_UNITS}.")
    return unit


@dataclass
class RenameDepthStep(ObservationProcessorStep):
    """observation.depth_front (B H W 1, metres) -> observation.images.front_depth (B 1 H W, unit)."""

    cameras: tuple[str, ...]
    unit: str  # of DEPTH_UNITS

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Rename and scale; everything else passes."""
        scale = MILLIMETRES if self.unit == "mm" else 1.0
        for name in self.cameras:
            depth = observation.pop(f"{OBS_STR}.depth_{name}")  # B H W 1
            observation[f"{OBS_IMAGES}.{name}_depth"] = depth.permute(0, 3, 1, 2).contiguous() * scale
            for matrix in ("intrinsics", "extrinsics"):
                value = observation.pop(f"{OBS_STR}.cam_{name}_{matrix}")
                observation[f"{OBS_STR}.camera.{name}.{matrix}"] = value
        return observation

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        """Depth and matrices are extras beside the declared features, which stay as they are."""
        return features
