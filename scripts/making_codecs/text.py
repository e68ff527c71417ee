"""The text half: a random, seeded umT5 encoder over bytes, and its tokenizer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from lerobot_xwam.envs.tabletop.tasks import COLOURS, TASKS

TEXT_POSITIONS = 64


def make_text(folder: Path, seed: int) -> None:
    """A random, seeded umT5 encoder over bytes, and its tokenizer."""
    from transformers import AutoTokenizer, ByT5Tokenizer, UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        vocab_size=384, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    torch.manual_seed(seed)
    encoder = UMT5EncoderModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(encoder.named_parameters()):
        if weight.ndim == 1:
            continue  # norms stay at 1: the last one gives the output unit root mean square
        fan_in = 1 if "shared" in name or "embed_tokens" in name else weight.shape[1]
        weight.data = torch.randn(weight.shape, generator=generator) / math.sqrt(fan_in)
        if "relative_attention_bias" in name:
            weight.data = 3.0 * torch.randn(
                weight.shape, generator=generator
            )  # so that the order of bytes counts
    encoder.save_pretrained(folder / "text_encoder")
    ByT5Tokenizer().save_pretrained(folder / "tokenizer")
    report_text(
        UMT5EncoderModel.from_pretrained(folder / "text_encoder"),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
    )


def report_text(encoder: Any, tokenizer: Any) -> None:
    """How far apart the wordings are for the two colours."""
    features = {}
    for colour in COLOURS:
        prompts = [wording.format(colour=colour) for wording in TASKS["lift"].wordings]
        tokens = tokenizer(prompts, padding="max_length", max_length=TEXT_POSITIONS, return_tensors="pt")
        with torch.no_grad():
            features[colour] = encoder(
                tokens.input_ids, attention_mask=tokens.attention_mask
            ).last_hidden_state
    red, blue = (features[colour] for colour in COLOURS)  # N positions dim
    apart = (red.mean(dim=1) - blue.mean(dim=1)).norm(dim=1) / red.mean(dim=1).norm(dim=1)
    single = (red - blue).square().mean().sqrt()
    print(
        f"text: output std {red.std():.2f}; red against blue, same wording: mean features differ by "
        f"{apart.min():.0%} to {apart.max():.0%}, single positions by {single:.2f} rms"
    )
