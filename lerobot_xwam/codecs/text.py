"""Instructions -> umT5 features of all positions, padding included: the network attends to all of them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from .source import load_part
from .text_cache import TextCache, normalised

CACHED_PROMPTS = 512  # in memory; at 5 B a prompt is 8 MB

logger = logging.getLogger(__name__)


class TextCodec:
    """Prompts come from memory, from a file of prepared ones, or from the encoder, in this order.

    With a file the encoder is loaded for the first prompt that the file lacks, and else never.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Any, Any]],  # -> (encoder, tokenizer)
        device: torch.device,
        tokens: int,
        prepared: TextCache | None = None,
    ) -> None:
        self.load_both = load
        self.device = device
        self.tokens = tokens
        self.prepared = prepared
        self._cache: OrderedDict[str, Tensor] = OrderedDict()  # prompt -> tokens text_dim, on the CPU

    @classmethod
    def load(
        cls,
        source: str,
        revision: str | None,
        device: torch.device,
        dtype: torch.dtype,
        tokens: int,
        prepared: TextCache | None = None,
    ) -> TextCodec:
        codec = cls(partial(load_encoder, source, revision, dtype), device, tokens, prepared)
        if prepared is None:
            _ = codec.encoder  # what cannot be loaded should say so now
        return codec

    @cached_property
    def _both(self) -> tuple[Any, Any]:
        encoder, tokenizer = self.load_both()
        return encoder.to(self.device).eval().requires_grad_(False), tokenizer

    @property
    def encoder(self) -> Any:
        return self._both[0]

    @property
    def tokenizer(self) -> Any:
        return self._both[1]

    @property
    def is_loaded(self) -> bool:
        return "_both" in self.__dict__

    def to(self, device: torch.device) -> TextCodec:
        self.device = device
        if self.is_loaded:
            self.encoder.to(device)
        return self

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        """-> B tokens text_dim, float32. Each prompt is encoded once and remembered."""
        prompts = [normalised(prompt) for prompt in prompts]
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._cache:
                self._cache[prompt] = self._look_up(prompt)
            self._cache.move_to_end(prompt)
        features = torch.stack([self._cache[prompt] for prompt in prompts])
        while len(self._cache) > CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return features.to(self.device)

    def _look_up(self, prompt: str) -> Tensor:
        if self.prepared is None:
            return self._encode(prompt).cpu()
        features = self.prepared.get(prompt)
        if features is not None:
            return features
        if not self.is_loaded:
            logger.warning(
                "X-WAM: the prompt %r is not in %s; loading the text encoder", prompt, self.prepared.path
            )
            try:
                _ = self.encoder
            except OSError as error:
                raise FileNotFoundError(
                    f"prompt {prompt!r}: not in the text cache {self.prepared.path}, and there is no text "
                    f"encoder to ask ({error}). Where the encoder is, add it: lerobot-xwam cache-text "
                    f"--codecs {self.prepared.identity.source} --prompts {prompt!r} "
                    f"--out {self.prepared.path}"
                ) from error
        return self._encode(prompt).cpu()

    def _encode(self, prompt: str) -> Tensor:
        tokens = self.tokenizer(
            [prompt], padding="max_length", max_length=self.tokens, truncation=True, return_tensors="pt"
        ).to(self.encoder.device)
        return (
            self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state[0].float()
        )


def load_encoder(source: str, revision: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """-> (umT5 encoder, its tokenizer)"""
    from transformers import AutoTokenizer, PreTrainedConfig, UMT5EncoderModel

    encoder = load_part(UMT5EncoderModel.from_pretrained, source, revision, "text_encoder", dtype=dtype)
    # Without a config it looks for tokenizer/config.json, which Wan has not: offline that is an error.
    tokenizer = load_part(
        AutoTokenizer.from_pretrained, source, revision, "tokenizer", config=PreTrainedConfig()
    )
    return encoder, tokenizer
