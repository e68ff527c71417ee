"""The official release: a checkpoint folder in its layout, and the names and shapes of the 5 B model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.weights.encoder_keys import take
from lerobot_xwam.weights.keys import from_diffusers, from_official, to_diffusers, to_official

from .encoders import load_text_encoder, load_vae, vae_sizes
from .folder import (
    FORWARD,
    LAYOUT,
    LAYOUT_EXPECTED,
    LAYOUT_WAN,
    LAYOUT_YAML,
    SPEC_GLOB,
    VAE,
    GoldenFolder,
    load_network,
)
from .forward import compare_outputs, predict
from .measure import Case, Measure, difference, identical, same_names


def layout_cases(folder: GoldenFolder) -> list[Case]:
    return [
        Case(f"{LAYOUT}.forward", partial(compare_layout, folder)),
        Case(f"{LAYOUT}.weights", partial(compare_weights, folder)),
    ]


def spec_cases(folder: GoldenFolder) -> list[Case]:
    return [
        Case("spec_5b", partial(compare_spec_file, folder, path))
        for path in sorted(folder.root.glob(SPEC_GLOB))
    ]


@torch.no_grad()
def compare_layout(folder: GoldenFolder) -> list[Measure]:
    """Weights as released (rounded to bf16), arithmetic in float32."""
    network = load_network(take(read_release(folder.root / LAYOUT), "model."), release_config(folder))
    reference = folder.tensors(LAYOUT_EXPECTED)
    prediction = predict(network, folder.tensors(FORWARD), "2d", 1.0, depth="depth" in reference)
    return compare_outputs(prediction, reference)


def compare_weights(folder: GoldenFolder) -> list[Measure]:
    """Every weight of the file's three models has its place in our network or in a library's class."""
    released = read_release(folder.root / LAYOUT)
    strangers = {key for key in released if not key.startswith(("model.", "vae.", "text_encoder.model."))}
    network = load_network(take(released, "model."), release_config(folder))
    measures = [
        same_names("prefixes", set(), strangers),
        same_names(
            "names of the network",
            {to_official(name) for name in network.state_dict()},
            set(take(released, "model.")),
        ),
    ]
    if text := take(released, "text_encoder.model."):
        loaded = load_text_encoder(text).shared.weight
        measures.append(difference("token embedding, loaded", loaded, text["token_embedding.weight"].float()))
    if (video := take(released, "vae.model.")) and folder.has(VAE):
        loaded = load_vae(video, vae_sizes(folder)).quant_conv.weight
        measures.append(difference("quantising convolution, loaded", loaded, video["conv1.weight"].float()))
    return measures


def read_release(root: Path) -> dict[str, Tensor]:
    """The tensors of a DeepSpeed file; `weights_only` refuses everything that could run code."""
    files = sorted(root.glob("checkpoints/*/checkpoint/*model_states.pt"))
    if len(files) != 1:
        raise ValueError(
            f"{root} should hold one checkpoints/*/checkpoint/*model_states.pt, it holds {len(files)}"
        )
    return torch.load(files[0], map_location="cpu", weights_only=True, mmap=True)["module"]


def release_config(folder: GoldenFolder) -> dict[str, Any]:
    """The DiT's sizes come from Wan's config, X-WAM's own from the experiment's."""
    return folder.json(LAYOUT_WAN) | read_yaml(folder.root / LAYOUT_YAML)


class _PlainLoader(yaml.SafeLoader):
    """YAML without code: values with Python tags are read as the text, list or mapping that they are."""


def _plain(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_yaml(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=_PlainLoader)


def compare_spec_file(folder: GoldenFolder, path: Path) -> list[Measure]:
    said = folder.json(path.name)
    return compare_spec(said["spec"] if "spec" in said else expand_spec(said))


def expand_spec(compact: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The short form of a specification states every block of a stack once."""
    named = dict(compact["outside"])
    for stack, said in compact["stacks"].items():
        for i in range(said["count"]):
            for name, (shape, theirs) in said["each"].items():
                named[f"{stack}.{i}.{name}"] = (shape, theirs and f"blocks.{i}.{theirs}")
    return {
        name: {"shape": shape} | ({"diffusers": theirs} if theirs else {})
        for name, (shape, theirs) in named.items()
    }


def compare_spec(spec: Mapping[str, Any]) -> list[Measure]:
    """Every name, shape and diffusers name of the full-size model, which is built without memory."""
    ours = full_size_parameters()
    official = {to_official(name): tuple(parameter.shape) for name, parameter in ours.items()}
    wanted = {name: tuple(entry["shape"]) for name, entry in spec.items()}
    shared = sorted(official.keys() & wanted.keys())
    wan = {to_official(name): theirs for name in ours if (theirs := to_diffusers(name)) is not None}
    wanted_wan = {name: entry["diffusers"] for name, entry in spec.items() if "diffusers" in entry}
    return [
        same_names("names", set(official), set(wanted)),
        same_names("shapes", {f"{n}: {official[n]}" for n in shared}, {f"{n}: {wanted[n]}" for n in shared}),
        same_names("names in diffusers", _arrows(wan), _arrows(wanted_wan)),
        same_names("official -> ours", {from_official(name) for name in wanted}, set(ours)),
        same_names(
            "diffusers -> ours",
            {from_diffusers(name) for name in wanted_wan.values()},
            {from_official(n) for n in wan},
        ),
        identical(
            "parameters",
            torch.tensor(sum(parameter.numel() for parameter in ours.values())),
            torch.tensor(sum(prod(shape) for shape in wanted.values())),
        ),
    ]


@lru_cache(maxsize=1)
def full_size_parameters() -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(XWAMTransformer(TransformerSizes()).state_dict())


def _arrows(table: Mapping[str, str]) -> set[str]:
    return {f"{key} -> {value}" for key, value in table.items()}
