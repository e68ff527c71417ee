"""The frozen networks of one policy: found early, loaded at first use, on the device of whoever asks."""

from __future__ import annotations

import torch

from .source import refuse_what_cannot_load
from .text import TextCodec
from .video import VideoCodec


class Codecs:
    """Holds the VAE and the text encoder outside of the policy's module tree, so they are neither saved nor
    trained.
    """

    def __init__(self, source: str, revision: str | None, dtype: torch.dtype, text_tokens: int) -> None:
        self.source, self.revision, self.dtype, self.text_tokens = source, revision, dtype, text_tokens
        self._video: VideoCodec | None = None
        self._text: TextCodec | None = None

    def check(self) -> None:
        """Fail now, not after an hour of data loading, if they are not there."""
        refuse_what_cannot_load(self.source, self.revision)

    def video(self, device: torch.device) -> VideoCodec:
        if self._video is None:
            self._video = VideoCodec.load(self.source, self.revision, device, self.dtype)
        self._video.vae.to(device)
        return self._video

    def text(self, device: torch.device) -> TextCodec:
        if self._text is None:
            self._text = TextCodec.load(self.source, self.revision, device, self.dtype, self.text_tokens)
        self._text.encoder.to(device)
        return self._text
