"""How states and actions are laid out.

"ee"      the universal interface: per arm, state (x y z, quaternion w x y z with w >= 0, gripper) and action
          (delta x y z, delta axis-angle, delta gripper). One arm is the left arm; the right half is absent.
"native"  whatever vector the dataset has, e.g. the joints of an SO-101.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import torch
from torch import Tensor

EE_STATE_DIMS = (8, 16)
EE_ACTION_DIMS = (7, 14)

_STATE = [r"x", r"y", r"z", r"q?w", r"qx|x", r"qy|y", r"qz|z", r"grip\w*"]
_ACTION = [r"d?x", r"d?y", r"d?z", r"d?(r|a|w)x|roll", r"d?(r|a|w)y|pitch", r"d?(r|a|w)z|yaw", r"d?_?grip\w*"]


def feature_names(feature: dict[str, Any]) -> list[str]:
    """A feature's dimension names; LeRobot has them as a list, or as a dict of lists, or not at all."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    return [str(name) for name in names] if names else [f"dim_{i}" for i in range(feature["shape"][0])]


def detect_interface(state_names: list[str], action_names: list[str]) -> tuple[Literal["ee", "native"], str]:
    """("ee" or "native", the reason in words). Only names decide: 8 and 7 numbers could be anything."""
    dims = len(state_names), len(action_names)
    shown = f"state of {dims[0]} ({_shorten(state_names)}), action of {dims[1]} ({_shorten(action_names)})"
    if dims not in zip(EE_STATE_DIMS, EE_ACTION_DIMS, strict=True):
        return "native", shown
    arms = dims[0] // 8
    if _match(state_names, _STATE * arms) and _match(action_names, _ACTION * arms):
        return "ee", f"end-effector names for {arms} arm(s), {shown}"
    return "native", f"widths of an end-effector layout, but not its names: {shown}"


def canonical_quaternions(state: Tensor) -> Tensor:
    """Give every arm's quaternion a non-negative w; q and -q are the same rotation. state: ... 8|16"""
    arms = state.unflatten(-1, (-1, 8))
    sign = torch.where(arms[..., 3:4] < 0, -1.0, 1.0)
    return torch.cat([arms[..., :3], arms[..., 3:7] * sign, arms[..., 7:]], dim=-1).flatten(-2)


def quaternion_dims(state_dim: int) -> list[int]:
    return [8 * arm + i for arm in range(state_dim // 8) for i in range(3, 7)]


def _match(names: list[str], patterns: list[str]) -> bool:
    words = (re.sub(r"\.pos$", "", name.lower()) for name in names)
    return all(
        re.search(rf"(^|[._ ])({pattern})$", word) for word, pattern in zip(words, patterns, strict=True)
    )


def _shorten(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], "..."])
