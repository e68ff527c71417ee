"""Instructions -> umT5 features of all positions, padding included: the network attends to all of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from .source import load_part

CACHED_PROMPTS = 512  # at 5 B a prompt is 4 MB


class TextCodec:
    def __init__(self, encoder: Any, tokenizer: Any, tokens: int) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.tokens = tokens
        self._cache: OrderedDict[str, Tensor] = OrderedDict()  # prompt -> tokens text_dim, on the CPU

    @classmethod
    def load(
        cls, source: str, revision: str | None, device: torch.device, dtype: torch.dtype, tokens: int
    ) -> TextCodec:
        from transformers import AutoTokenizer, PreTrainedConfig, UMT5EncoderModel

        encoder = load_part(UMT5EncoderModel.from_pretrained, source, revision, "text_encoder", dtype=dtype)
        # Without a config it looks for tokenizer/config.json, which Wan has not: offline that is an error.
        tokenizer = load_part(
            AutoTokenizer.from_pretrained, source, revision, "tokenizer", config=PreTrainedConfig()
        )
        return cls(encoder.to(device), tokenizer, tokens)

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        """-> B tokens text_dim. Each prompt is encoded once and remembered."""
        prompts = [" ".join(prompt.split()) for prompt in prompts]
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._cache:
                self._cache[prompt] = self._encode(prompt).cpu()
            self._cache.move_to_end(prompt)
        features = torch.stack([self._cache[prompt] for prompt in prompts])
        while len(self._cache) > CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return features.to(self.encoder.device)

    def _encode(self, prompt: str) -> Tensor:
        tokens = self.tokenizer(
            [prompt], padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        ).to(self.encoder.device)
        return (
            self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state[0].float()
        )
