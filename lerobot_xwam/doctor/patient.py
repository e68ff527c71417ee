"""A dataset together with the policy that is to be trained on it: what every check looks at."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.configuration_xwam import XWAMConfig
from lerobot_xwam.data.layout import EE_ACTION_DIMS, EE_STATE_DIMS, detect_interface, feature_names
from lerobot_xwam.space.poses import ACTION, STATE

from .dataset_folder import DatasetFolder
from .footage import Footage, look
from .rows import Rows, Vector, read_rows

STATE_KEY, ACTION_KEY = "observation.state", "action"


@dataclass(frozen=True)
class Arm:
    """One arm's numbers in the universal interface."""

    name: str
    state: Vector  # N 8
    action: Vector  # N 7


@dataclass(frozen=True)
class Patient:
    folder: DatasetFolder
    rows: Rows
    footage: Footage
    config: XWAMConfig  # completed from the dataset, as training does it
    refusal: str | None  # what the policy says if it cannot be trained on this

    @cached_property
    def has_vectors(self) -> bool:
        return {STATE_KEY, ACTION_KEY} <= self.rows.raw.keys()

    @property
    def state(self) -> Vector:  # N P
        return self.rows.vector(STATE_KEY)

    @property
    def action(self) -> Vector:  # N A
        return self.rows.vector(ACTION_KEY)

    def names(self, key: str) -> list[str]:
        names = feature_names(self.folder.features[key])
        width = self.rows.raw[key].shape[1]
        return names if len(names) == width else [f"dim_{i}" for i in range(width)]

    @cached_property
    def interface(self) -> tuple[Literal["ee", "native"], str]:
        """What training would take it for, and why."""
        if not self.has_vectors:
            return "native", "no state or no action"
        detected, reason = detect_interface(self.names(STATE_KEY), self.names(ACTION_KEY))
        asked = self.config.interface
        if self.refusal is None and asked != "auto" and asked != detected:
            return asked, "as the policy's settings say"
        return detected, reason

    @cached_property
    def arms(self) -> list[Arm]:
        """Empty if the interface is not the universal one; an arm that is always still is absent."""
        widths = (self.state.shape[1], self.action.shape[1]) if self.has_vectors else (0, 0)
        if self.interface[0] != "ee" or widths not in zip(EE_STATE_DIMS, EE_ACTION_DIMS, strict=True):
            return []
        count = widths[0] // STATE
        found = [
            Arm(
                "" if count == 1 else ("left ", "right ")[i],
                self.state[:, STATE * i : STATE * (i + 1)],
                self.action[:, ACTION * i : ACTION * (i + 1)],
            )
            for i in range(count)
        ]
        return [arm for arm in found if np.ptp(arm.state, axis=0).any() or np.ptp(arm.action, axis=0).any()]

    @cached_property
    def absent(self) -> dict[str, NDArray[np.bool_]]:
        """Numbers of an arm that is not there: the right half, always the same.  # key -> D"""
        result: dict[str, NDArray[np.bool_]] = {
            key: np.zeros(values.shape[1], dtype=np.bool_) for key, values in self.rows.raw.items()
        }
        if self.interface[0] == "ee" and len(self.arms) == 1 and self.state.shape[1] == 2 * STATE:
            half = slice(STATE, None) if self.arms[0].name.startswith("left") else slice(0, STATE)
            result[STATE_KEY][half] = True
            half = slice(ACTION, None) if self.arms[0].name.startswith("left") else slice(0, ACTION)
            result[ACTION_KEY][half] = True
        return result

    @cached_property
    def paired(self) -> list[tuple[int, int, str]]:
        """Native: (state dim, action dim, name) of what is both measured and commanded."""
        if self.interface[0] != "native" or not self.has_vectors:
            return []
        unnamed = any(not self.folder.features[key].get("names") for key in (STATE_KEY, ACTION_KEY))
        if unnamed and self.state.shape[1] != self.action.shape[1]:
            return []
        actions = {name: i for i, name in enumerate(self.names(ACTION_KEY))}
        return [(i, actions[n], n) for i, n in enumerate(self.names(STATE_KEY)) if n in actions]


def admit(root: Path, settings: XWAMConfig, most_frames: int) -> Patient:
    """Read everything that the checks need."""
    folder = DatasetFolder.read(root)
    config = deepcopy(settings)
    refusal = _complete(config, folder.features)
    widths = {
        key: int(np.prod(folder.features[key]["shape"]))
        for key in (STATE_KEY, ACTION_KEY)
        if key in folder.features
    }
    rows = read_rows(root, widths, most_frames)
    return Patient(folder, rows, look(folder, config.chunk_size, config.depth_unit), config, refusal)


def _complete(config: XWAMConfig, features: dict[str, dict[str, Any]]) -> str | None:
    """Fill in what training learns from a dataset; -> why it would refuse it."""
    from lerobot.configs import FeatureType
    from lerobot.utils.feature_utils import dataset_to_policy_features

    config.latent_cache = None
    try:
        known = dataset_to_policy_features(features)
        config.output_features = {k: f for k, f in known.items() if f.type is FeatureType.ACTION}
        if not config.input_features:
            config.input_features = {k: f for k, f in known.items() if k not in config.output_features}
        config.set_dataset_feature_metadata(features)
        config.validate_features()
    except ValueError as error:
        return str(error)
    return None
