"""The frozen encoders: diffusers' and transformers' classes with official weights under our key tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from lerobot_xwam.codecs.video import VideoCodec
from lerobot_xwam.weights.encoder_keys import (
    Table,
    inverse,
    rename,
    renamed,
    take,
    text_encoder_table,
    vae_table,
)

from .folder import TEXT, TEXT_NAMES, VAE, VAE_NAMES, VAE_SIZES, GoldenFolder
from .measure import Case, Measure, difference, same_names


def vae_cases(folder: GoldenFolder) -> list[Case]:
    lengths = sorted(int(key.split(".")[1]) for key in folder.keys(VAE) if key.startswith("video."))
    return [Case(f"vae_tiny.{frames}_frames", partial(compare_vae, folder, frames)) for frames in lengths]


def text_cases(folder: GoldenFolder) -> list[Case]:
    return [Case("t5_tiny", partial(compare_text, folder))]


def name_cases(folder: GoldenFolder) -> list[Case]:
    """Our key tables against the recorded ones, whichever of the two are there."""
    both = {
        VAE_NAMES: Case("keys.vae", partial(compare_vae_names, folder)),
        TEXT_NAMES: Case("keys.umt5", partial(compare_text_names, folder)),
    }
    return [case for name, case in both.items() if folder.has(name)]


@torch.no_grad()
def compare_vae(folder: GoldenFolder, frames: int) -> list[Measure]:
    stored = folder.tensors(VAE)
    codec = tiny_codec(folder)
    video, reference = stored[f"video.{frames}"], stored[f"latents.{frames}"]  # B 3 F H W, B C T h w
    latents = codec.encode(video.transpose(1, 2)[:, None])[:, :, :, 0]
    measures = [difference("latents", latents, reference)]
    for name in ("mean", "std"):
        configured = torch.tensor(codec.vae.config[f"latents_{name}"])
        measures.append(difference(f"{name} of the latents", configured, stored[name]))
    video = codec.decode(reference[:, :, :, None])[:, 0].transpose(1, 2)
    if (decoded := stored.get(f"decoded.{frames}")) is not None:
        measures.append(difference("decoded", video, decoded))
    if (unclamped := stored.get(f"decoded_unclamped.{frames}")) is not None:
        measures.append(difference("decoded_unclamped, clamped", video, unclamped.clamp(-1, 1)))
    return measures


@lru_cache(maxsize=1)
def tiny_codec(folder: GoldenFolder) -> VideoCodec:
    return VideoCodec(load_vae(take(folder.tensors(VAE), "model."), vae_sizes(folder)))


def vae_sizes(folder: GoldenFolder) -> dict[str, Any]:
    """AutoencoderKLWan's arguments, from the metadata of the weights or the file beside them."""
    if "diffusers_config" in (metadata := folder.metadata(VAE)):
        return json.loads(metadata["diffusers_config"])
    return folder.json(VAE_SIZES)["diffusers_config"]


def load_vae(official: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> AutoencoderKLWan:
    vae = AutoencoderKLWan(**sizes)
    table = vae_table(len(sizes["dim_mult"]), sizes["num_res_blocks"])
    vae.load_state_dict(renamed({key: value.float() for key, value in official.items()}, table), strict=True)
    return vae.eval()


@torch.no_grad()
def compare_text(folder: GoldenFolder) -> list[Measure]:
    stored = folder.tensors(TEXT)
    encoder = load_text_encoder(take(stored, "model."))
    said = encoder(input_ids=stored["ids"], attention_mask=stored["mask"]).last_hidden_state
    return [difference("output, padding included", said, stored["output"])]


def load_text_encoder(official: Mapping[str, Tensor]) -> UMT5EncoderModel:
    """Sizes come from the shapes of the weights."""
    vocabulary, width = official["token_embedding.weight"].shape
    buckets, heads = official["blocks.0.pos_embedding.embedding.weight"].shape
    layers = len({key.split(".")[1] for key in official if key.startswith("blocks.")})
    encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary,
            d_model=width,
            d_kv=official["blocks.0.attn.q.weight"].shape[0] // heads,
            d_ff=official["blocks.0.ffn.fc1.weight"].shape[0],
            num_heads=heads,
            num_layers=layers,
            relative_attention_num_buckets=buckets,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )
    state = renamed({key: value.float() for key, value in official.items()}, text_encoder_table(layers))
    state["encoder.embed_tokens.weight"] = state["shared.weight"]  # one tensor with two names
    encoder.load_state_dict(state, strict=True)
    return encoder.eval()


def compare_vae_names(folder: GoldenFolder) -> list[Measure]:
    said = folder.json(VAE_NAMES)
    sizes = said.get("diffusers_config") or {}
    table = vae_table(len(sizes.get("dim_mult", range(4))), sizes.get("num_res_blocks", 2))
    return _compare_names({key: value["diffusers"] for key, value in said["map"].items()}, table)


def compare_text_names(folder: GoldenFolder) -> list[Measure]:
    said = folder.json(TEXT_NAMES)["map"]
    layers = len({key.split(".")[1] for key in said if key.startswith("blocks.")})
    return _compare_names(said, text_encoder_table(layers))


def _compare_names(recorded: Mapping[str, str], table: Table) -> list[Measure]:
    """There, and back by the inverse."""
    there = {f"{key} -> {rename(key, table)}" for key in recorded}
    back = {f"{rename(name, inverse(table))} -> {name}" for name in recorded.values()}
    wanted = {f"{key} -> {name}" for key, name in recorded.items()}
    return [same_names("official -> library", there, wanted), same_names("library -> official", back, wanted)]
