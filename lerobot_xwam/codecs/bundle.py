"""The frozen networks of one policy: found early, loaded at first use, on the device of whoever asks."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from .encoder_identity import EncoderIdentity, identify
from .source import refuse_what_cannot_load
from .text import TextCodec
from .text_cache import TextCache
from .video import VideoCodec

logger = logging.getLogger(__name__)


class Codecs:
    """Holds the VAE and the text encoder outside of the policy's module tree, so they are neither saved nor
    trained.
    """

    def __init__(
        self,
        source: str,
        revision: str | None,
        dtype: torch.dtype,
        text_tokens: int,
        text_cache: str | None = None,
    ) -> None:
        self.source, self.revision, self.dtype, self.text_tokens = source, revision, dtype, text_tokens
        self.text_cache = None if text_cache is None else Path(text_cache).expanduser()
        self._video: VideoCodec | None = None
        self._text: TextCodec | None = None

    def check(self) -> None:
        """Fail now, not after an hour of data loading, if they are not there."""
        if self.text_cache is None:
            refuse_what_cannot_load(self.source, self.revision)
            return
        if not self.text_cache.is_file():
            raise FileNotFoundError(
                f"--policy.text_cache={self.text_cache}: no such file. Make it with `lerobot-xwam cache-text "
                f"--codecs {self.source} --dataset DATASET --out {self.text_cache}`, or leave it away"
            )
        self._prepared()
        refuse_what_cannot_load(self.source, self.revision, parts=("vae",))

    def video(self, device: torch.device) -> VideoCodec:
        if self._video is None:
            self._video = VideoCodec.load(self.source, self.revision, device, self.dtype)
        self._video.vae.to(device)
        return self._video

    def text(self, device: torch.device) -> TextCodec:
        if self._text is None:
            self._text = TextCodec.load(
                self.source, self.revision, device, self.dtype, self.text_tokens, self._prepared()
            )
        return self._text.to(device)

    def _prepared(self) -> TextCache | None:
        """The file of prepared prompts, if there is one and this encoder made it."""
        if self.text_cache is None:
            return None
        if not self.text_cache.is_file():  # a checkpoint remembers where its training had one
            logger.warning("X-WAM: there is no text cache %s here; using the text encoder", self.text_cache)
            return None
        cache = TextCache(self.text_cache)
        ours = identify(self.source, self.revision, self.dtype, self.text_tokens)
        if ours is None:  # only what was said of it can be compared
            dtype, made = str(self.dtype).removeprefix("torch."), cache.identity
            ours = EncoderIdentity(self.source, None, self.text_tokens, dtype, made.fingerprint)
            logger.info("X-WAM: no text encoder here; trusting %s, made with %s", cache.path, made.source)
        cache.refuse_other(ours)
        return cache
