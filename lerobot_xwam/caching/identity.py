"""What cached latents depend on, by names a person understands. If any of it changes, they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lerobot.utils.constants import HF_LEROBOT_HOME

from ..codecs.source import local_part
from ..configuration_xwam import XWAMConfig
from ..data.latent_store.fingerprint import file_mark, value_mark

WEIGHTS = (".safetensors", ".bin", ".json")
SHORT = 60  # characters of a value that is shown as it is
DEPTH_FEATURES = "depth features"
DEPTH_CODE = ("depth_unit", "depth_near", "depth_far", "depth_codec_version")


def uses_depth(config: XWAMConfig) -> bool:
    return config.depth != "none" and bool(config.depth_features)


def policy_parts(config: XWAMConfig) -> dict[str, Any]:
    """Sizes, cameras, depth code and augmentation."""
    parts: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("height", "width", "num_frames", "actions_per_frame", "latent_channels", "vae_stride")
    }
    parts["cameras in order"] = config.cameras
    parts[DEPTH_FEATURES] = config.depth_features if uses_depth(config) else []
    if uses_depth(config):
        for name in DEPTH_CODE:
            parts[name] = getattr(config, name)
    parts["precision of the VAE (dtype)"] = config.dtype
    for name, value in vars(config.augmentation).items():
        parts[f"augmentation: {name}"] = value
    return parts


def codec_parts(config: XWAMConfig) -> dict[str, Any]:
    """The VAE's files, wherever they lie; empty where they are not on this machine."""
    folder = local_part(config.codecs, config.codecs_revision, "vae")
    if folder is None:
        return {}
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS and path.is_file())
    return {f"VAE {path.name}": file_mark(path) for path in files}


def dataset_parts(root: Path, images: list[str]) -> dict[str, Any]:
    """The dataset's description, episodes, vectors, and the videos of the images in use."""
    info = json.loads((root / "meta/info.json").read_text(encoding="utf-8"))
    parts: dict[str, Any] = {}
    for name, value in info.items():
        for key, each in value.items() if name == "features" else [("", value)]:
            shown = each if len(str(each)) <= SHORT else value_mark(each)
            parts[f"dataset meta/info.json: {name}{key and '.'}{key}"] = shown
    files = [*(root / "meta/episodes").rglob("*.parquet"), *(root / "data").rglob("*.parquet")]
    for key in images:
        files += (root / "videos" / key).rglob("*.mp4")
    for path in sorted(files):
        parts[f"dataset {path.relative_to(root).as_posix()}"] = file_mark(path)
    return parts


def without_depth(parts: dict[str, Any]) -> dict[str, Any]:
    """What a policy without depth asks of a cache with it: the latents of its cameras are the same."""
    videos = tuple(f"dataset videos/{key}/" for key in parts[DEPTH_FEATURES])
    kept = {
        name: mark for name, mark in parts.items() if name not in DEPTH_CODE and not name.startswith(videos)
    }
    return {**kept, DEPTH_FEATURES: []}


def default_folder(root: Path, repo_id: str) -> Path:
    """Beside a local dataset; a dataset of the Hub's cache gets its place among LeRobot's own."""
    if (root / ".git").exists() or root.parent.name == "snapshots":
        return HF_LEROBOT_HOME / f"{repo_id}-latents"
    return root.absolute().parent / f"{root.absolute().name}-latents"
