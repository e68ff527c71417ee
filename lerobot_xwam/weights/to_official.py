"""A LeRobot checkpoint of ours -> the layout of the official release, bit by bit.

A policy holds no VAE and no text encoder. They come from the release it was converted from, or from a codecs
folder; without either the file holds the network alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from ..model.sizes import TransformerSizes
from .account import Account
from .conversion import Conversion, refuse_misfits, wanted_shapes
from .from_official import ORIGINAL_CONFIG
from .frozen import frozen_from_codecs
from .keys import to_official
from .lerobot_folder import PREFIX, LeRobotFolder, read_lerobot_folder, read_statistics
from .network_sizes import count, trunk_sizes
from .official_config import Statistics, read_config, settings_of, statistics_of, to_quantiles, to_settings
from .official_layout import MODEL, PLACE, Official
from .outgoing import Outgoing, carried
from .wan_config import EPS

ROUNDING = 1e-6  # of the range: statistics that went through float32 are the same statistics


@dataclass(frozen=True)
class FrozenParts:
    """Where VAE and text encoder come from: at most one of the two."""

    release: Official | None = None
    codecs: Path | None = None


def plan_to_official(
    source: Path, frozen: FrozenParts, *, config_path: Path | None = None, dtype: torch.dtype | None = None
) -> Conversion:
    """`dtype` is the network's; None keeps each tensor's own. The frozen parts always keep theirs."""
    if frozen.release is not None and frozen.codecs is not None:
        raise ValueError("VAE and text encoder: give the release or a codecs folder, not both")
    ours = read_lerobot_folder(source)
    account = Account(f"{source} -> official layout")
    sizes = _sizes(ours)
    refuse_misfits(source, wanted_shapes(sizes), ours.network, lambda name: PREFIX + name)
    module: dict[str, Outgoing] = {}
    for name, stored in ours.network.items():
        tensor = carried(MODEL + to_official(name), stored, dtype)
        account.keep(tensor, PREFIX + name, "the network")
        module[tensor.name] = tensor
    module |= {tensor.name: tensor for tensor in _frozen(frozen, account)}
    besides = {} if frozen.release is None else _plain_entries(frozen.release.besides)
    return Conversion(
        account,
        checkpoints={PLACE: {"module": module} | besides},
        texts={
            "config.yaml": _config_text(ours, sizes, config_path, account),
            "wan_config.json": json.dumps(_wan_config(sizes), indent=1),
        },
    )


def _sizes(ours: LeRobotFolder) -> TransformerSizes:
    mode, found = ours.settings["depth"], ours.network
    if mode not in ("interleaved", "none"):
        raise ValueError(
            f"{ours.path}: depth={mode!r} is a network of its own; the official layout has 'interleaved' and "
            "'none'"
        )
    trunk = trunk_sizes(ours.path, found, ours.settings["heads"])
    return TransformerSizes(
        **trunk,
        depth_blocks=count(found, "depth_blocks"),
        views=ours.settings["max_views"],
        action_dim=ours.settings["action_width"],
        state_dim=ours.settings["state_width"],
    )


def _frozen(frozen: FrozenParts, account: Account) -> list[Outgoing]:
    if frozen.codecs is not None:
        return frozen_from_codecs(frozen.codecs, account)
    if frozen.release is None:
        account.notes.append(
            "VAE and text encoder are not in the file: give --frozen-from RELEASE or --codecs FOLDER for a "
            "complete one"
        )
        return []
    outgoing = []
    for name, stored in frozen.release.frozen.items():
        tensor = carried(name, stored)
        account.keep(tensor, name, f"frozen encoders, from {frozen.release.path.name}")
        outgoing.append(tensor)
    return outgoing


def _config_text(ours: LeRobotFolder, sizes: TransformerSizes, given: Path | None, account: Account) -> str:
    """The release's config.yaml: as it was if nothing changed, else with our settings and statistics."""
    statistics = read_statistics(ours.path)
    if statistics is not None and ours.settings["interface"] != "ee":
        account.notes.append(
            "config.yaml: statistics of a native interface have no place in it and are left out"
        )
        statistics = None
    original = given or ours.path / ORIGINAL_CONFIG
    config: dict[str, Any] = {}
    if original.is_file():
        config = read_config(original)
        if _unchanged(original, config, ours.settings, statistics):
            return original.read_text(encoding="utf-8")
        account.notes.append(
            f"config.yaml: that of {original}, with this checkpoint's settings and statistics"
        )
    else:
        account.notes.append(
            "config.yaml: written anew, with what this checkpoint knows; give a release's with --config to "
            "keep its other settings"
        )
    settings = ours.settings
    dataset = dict(config.get("dataset") or {})
    dataset |= {"video_size": [settings["height"], settings["width"]], "crop_ratio": settings["crop_ratio"]}
    if statistics is not None:
        dataset["statistics"] = to_quantiles(statistics)
    config |= to_settings(settings) | {
        "num_extra_layers": sizes.depth_blocks,
        "use_depth": bool(sizes.depth_blocks),
        "action_dim": sizes.action_dim,
        "proprio_dim": sizes.state_dim,
        "dataset": dataset,
    }
    return yaml.safe_dump(config, sort_keys=False)


def _unchanged(
    path: Path, config: dict[str, Any], settings: dict[str, Any], statistics: Statistics | None
) -> bool:
    said = settings_of(path, config)
    if any(settings[name] != value for name, value in said.items()):
        return False
    if config.get("num_extra_layers", 0) != (settings["depth_blocks"] if settings["depth"] != "none" else 0):
        return False
    if statistics is None:
        return True
    known = to_quantiles(statistics_of(path, config))
    now = to_quantiles(statistics)
    return known.keys() == now.keys() and all(
        known[quantile].keys() == now[quantile].keys()
        and all(_close(known[quantile][part], now[quantile][part]) for part in known[quantile])
        for quantile in known
    )


def _close(known: list[float], now: list[float]) -> bool:
    return all(abs(a - b) <= ROUNDING * max(1.0, abs(a)) for a, b in zip(known, now, strict=True))


def _plain_entries(besides: dict[str, Any]) -> dict[str, Any]:
    """What a release's file says besides its weights, as far as it is numbers and text."""
    return {key: value for key, value in besides.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return value is None or type(value) in (bool, int, float, str)


def _wan_config(sizes: TransformerSizes) -> dict[str, Any]:
    return {
        "_class_name": "WanModel",
        "model_type": "ti2v",
        "dim": sizes.dim,
        "eps": EPS,
        "ffn_dim": sizes.ffn_dim,
        "freq_dim": sizes.time_dim,
        "in_dim": sizes.channels,
        "num_heads": sizes.heads,
        "num_layers": sizes.blocks,
        "out_dim": sizes.channels,
    }
