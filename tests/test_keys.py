"""Key tables lead there and back, know every weight, and refuse all others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_model import SIZES

from lerobot_xwam.model.sizes import TransformerSizes
from lerobot_xwam.model.transformer import XWAMTransformer
from lerobot_xwam.weights.encoder_keys import inverse, rename, renamed, take, text_encoder_table, vae_table
from lerobot_xwam.weights.keys import from_diffusers, from_official, to_diffusers, to_official


def names_of(sizes: TransformerSizes) -> list[str]:
    with torch.device("meta"):
        return list(XWAMTransformer(sizes).state_dict())


@pytest.mark.parametrize(
    "sizes", [SIZES, replace(SIZES, depth_blocks=0), TransformerSizes()], ids=["toy", "no depth", "5B"]
)
def test_official_names_lead_there_and_back(sizes: TransformerSizes) -> None:
    ours = names_of(sizes)
    official = [to_official(name) for name in ours]
    assert [from_official(name) for name in official] == ours
    assert len(set(official)) == len(ours)


def test_diffusers_names_are_those_of_its_own_class() -> None:
    """Every weight of diffusers' Wan has its place in ours, in the same shape; the rest is X-WAM's own."""
    with torch.device("meta"):
        theirs = WanTransformer3DModel(
            patch_size=(1, SIZES.patch, SIZES.patch),
            num_attention_heads=SIZES.heads,
            attention_head_dim=SIZES.head_dim,
            in_channels=SIZES.channels,
            out_channels=SIZES.channels,
            text_dim=SIZES.text_dim,
            freq_dim=SIZES.time_dim,
            ffn_dim=SIZES.ffn_dim,
            num_layers=SIZES.blocks,
            qk_norm="rms_norm_across_heads",
        ).state_dict()
        ours = XWAMTransformer(SIZES).state_dict()
    assert {from_diffusers(name): tensor.shape for name, tensor in theirs.items()} == {
        name: tensor.shape for name, tensor in ours.items() if to_diffusers(name) is not None
    }
    assert all(to_diffusers(from_diffusers(name)) == name for name in theirs)
    own = {name.split(".")[0] for name in ours if to_diffusers(name) is None}
    assert own == {
        "view_embedding",
        "action_in",
        "action_out",
        "state_in",
        "state_out",
        "depth_blocks",
        "depth_head",
    }


@pytest.mark.parametrize("convert", [to_official, from_official, to_diffusers, from_diffusers])
@pytest.mark.parametrize(
    "key", ["blocks.0.self_attn.z.weight", "blocks.x.ffn.0.weight", "lm_head.weight", ""]
)
def test_strange_names_are_refused(convert, key: str) -> None:
    with pytest.raises(KeyError, match="no weight of X-WAM"):
        convert(key)


@settings(max_examples=30, deadline=None)
@given(stages=st.integers(1, 6), res_blocks=st.integers(1, 4), layers=st.integers(1, 30))
def test_encoder_tables_are_one_to_one(stages: int, res_blocks: int, layers: int) -> None:
    for table in (vae_table(stages, res_blocks), text_encoder_table(layers)):
        back = inverse(table)
        assert len(back) == len(table)
        assert all(rename(rename(f"{name}.weight", table), back) == f"{name}.weight" for name in table)


def test_encoder_tables_hold_the_recorded_names(golden: Path) -> None:
    vae = json.loads((golden / "keymap_vae22_official_to_diffusers.json").read_text())["map"]
    text = json.loads((golden / "keymap_umt5_official_to_hf.json").read_text())["map"]
    assert {name: rename(name, vae_table()) for name in vae} == {
        name: said["diffusers"] for name, said in vae.items()
    }
    assert {name: rename(name, text_encoder_table()) for name in text} == text


def test_state_dicts_are_taken_apart_and_renamed() -> None:
    state = {
        "vae.model.conv1.weight": torch.ones(1),
        "vae.mean": torch.zeros(1),
        "model.conv1.weight": torch.ones(2),
    }
    assert list(renamed(take(state, "vae.model."), vae_table())) == ["quant_conv.weight"]
    with pytest.raises(ValueError, match=r"2 of 3 weights .* does not know: vae.mean, model.conv1.weight\."):
        renamed(
            {"conv1.weight": torch.ones(1), **{k: state[k] for k in ("vae.mean", "model.conv1.weight")}},
            vae_table(),
        )
    with pytest.raises(KeyError, match="no weight of this encoder"):
        rename("encoder.downsamples.0.downsamples.3.shortcut.weight", vae_table())
