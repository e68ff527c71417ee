"""A folder of recorded numbers, read lazily; every size comes from its config and its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.weights.keys import from_official

CONFIG = "config.json"
WEIGHTS = "xwam_model.safetensors"
FORWARD = "forward.safetensors"
FORWARD_BF16 = "forward_bf16_emulated.safetensors"
TRACE = "forward_trace.safetensors"
TRAIN = "train.safetensors"
TRAIN_SAID = "train.json"
GENERATE = "generate.safetensors"
GENERATE_SAID = "generate.json"
UNIPC = "unipc.safetensors"
UNIPC_SAID = "unipc.json"
ANS_SAID = "ans.json"
ANS_SAMPLES = "ans_samples.safetensors"
VAE = "vae_tiny.safetensors"
VAE_SIZES = "vae_tiny.json"
TEXT = "t5_tiny.safetensors"
VAE_NAMES = "keymap_vae22_official_to_diffusers.json"
TEXT_NAMES = "keymap_umt5_official_to_hf.json"
DATASET = "dataset.safetensors"
DATASET_SAID = "dataset.json"
STATISTICS_SAID = "compute_stats.json"
EVALUATION = "eval_io.safetensors"
EVALUATION_SAID = "eval_io.json"
LAYOUT = "official_layout_ckpt"
LAYOUT_EXPECTED = f"{LAYOUT}/expected_forward_fp32.safetensors"
LAYOUT_WAN = f"{LAYOUT}/wan_config.json"
LAYOUT_YAML = f"{LAYOUT}/config.yaml"
SPEC_GLOB = "spec_xwam_5b_*.json"


class NotGoldenError(ValueError):
    """The folder is not one of recorded reference numbers."""


class GoldenFolder:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._tensors: dict[str, dict[str, Tensor]] = {}
        if not root.is_dir():
            raise NotGoldenError(f"{root} is no folder; give one with recorded reference numbers")
        missing = [name for name in (CONFIG, WEIGHTS) if not self.has(name)]
        if missing:
            raise NotGoldenError(
                f"{root} is not a folder of reference numbers: it has no {' and no '.join(missing)}"
            )
        try:
            self.model_config: dict[str, Any] = self.json(CONFIG)["model"]
        except (ValueError, KeyError, TypeError) as error:
            raise NotGoldenError(
                f'{root / CONFIG} cannot be read as {{"model": {{...}}}}: {error}'
            ) from error

    def has(self, name: str) -> bool:
        return (self.root / name).exists()

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / name).read_text(encoding="utf-8"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        if name not in self._tensors:
            self._tensors[name] = load_file(self.root / name)
        return self._tensors[name]

    def keys(self, name: str) -> list[str]:
        with safe_open(self.root / name, "pt") as file:
            return list(file.keys())

    def metadata(self, name: str) -> dict[str, str]:
        with safe_open(self.root / name, "pt") as file:
            return file.metadata() or {}

    @cached_property
    def network(self) -> XWAMTransformer:
        return load_network(self.tensors(WEIGHTS), self.model_config)


def load_network(official: Mapping[str, Tensor], config: Mapping[str, Any]) -> XWAMTransformer:
    """Our network with official weights, in float32; every name must find its place."""
    network = XWAMTransformer(sizes_of(official, config))
    network.load_state_dict(
        {from_official(key): value.float() for key, value in official.items()}, strict=True
    )
    return network.eval()


def sizes_of(official: Mapping[str, Tensor], config: Mapping[str, Any]) -> TransformerSizes:
    """Sizes from the shapes of the weights; the config is asked for the three that shapes do not tell."""
    dim, channels, _, patch, _ = official["patch_embedding.weight"].shape
    return TransformerSizes(
        dim=dim,
        ffn_dim=official["blocks.0.ffn.0.weight"].shape[0],
        heads=config["num_heads"],
        blocks=_count(official, "blocks."),
        depth_blocks=_count(official, "extra_blocks.0."),
        channels=channels,
        views=official["view_embedding.weight"].shape[0],
        action_dim=official["action_encoder.0.weight"].shape[1],
        state_dim=official["proprio_encoder.0.weight"].shape[1],
        text_dim=official["text_embedding.0.weight"].shape[1],
        time_dim=official["time_embedding.0.weight"].shape[1],
        patch=patch,
        actions_per_frame=config["action_num"],
        eps=config["eps"],
    )


def _count(official: Mapping[str, Tensor], stack: str) -> int:
    return len({key.removeprefix(stack).split(".")[0] for key in official if key.startswith(stack)})
