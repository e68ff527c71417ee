"""Prepared features of prompts in one safetensors file, so that acting and training need no text encoder.

FILE         tensor "0", "1", ... (tokens text_dim, the encoder's own dtype); metadata: prompts in this order,
             and which encoder made them
FILE.parts/  while it is being made: one file per prompt, each there when it is complete
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files import appearing
from .encoder_identity import EncoderIdentity

FORMAT = "1"
_KINDS = {torch.bfloat16: "BF16", torch.float32: "F32"}


def normalised(prompt: str) -> str:
    """What the encoder is asked for: white space is not meaning."""
    return " ".join(prompt.split())


class TextCache:
    """A finished file, opened for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = safe_open(path, framework="pt")
            said = self._file.metadata() or {}
            version = said["xwam_text_cache"]
            prompts, identity = json.loads(said["prompts"]), json.loads(said["encoder"])
            self.identity = EncoderIdentity(**identity)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"text cache {path}: no file of `lerobot-xwam cache-text`, or it was cut off ({error}). "
                "Make it again"
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"text cache {path}: format {version}, this version reads {FORMAT}: make it again"
            )
        self._names = {prompt: str(i) for i, prompt in enumerate(prompts)}

    @property
    def prompts(self) -> list[str]:
        return list(self._names)

    def get(self, prompt: str) -> Tensor | None:
        """Features of a normalised prompt as the encoder gave them, float32, or None. -> tokens text_dim"""
        stored = self.get_stored(prompt)
        return None if stored is None else stored.to(torch.float32, copy=True)

    def get_stored(self, prompt: str) -> Tensor | None:
        name = self._names.get(prompt)
        return None if name is None else self._file.get_tensor(name)

    def refuse_other(self, encoder: EncoderIdentity) -> None:
        """An error unless this encoder gives the same features."""
        if difference := self.identity.difference(encoder):
            raise ValueError(
                f"text cache {self.path}: made with another encoder ({difference}; it was "
                f"{self.identity.source!r}, now it is {encoder.source!r}). Make one for this encoder with "
                f"`lerobot-xwam cache-text --codecs {encoder.source}`, or leave --policy.text_cache away"
            )


def add_prompts(
    path: Path,
    prompts: Iterable[str],
    encode: Callable[[str], Tensor],  # normalised prompt -> tokens text_dim, float32
    encoder: EncoderIdentity,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[list[str], list[str]]:
    """Bring a cache up to date. -> (prompts that were encoded now, prompts that were there)

    What was encoded survives a kill: it lies in FILE.parts until the file itself is replaced at the end.
    """
    wanted = list(dict.fromkeys(map(normalised, prompts)))
    old = TextCache(path) if path.is_file() else None
    if old is not None:
        old.refuse_other(encoder)
    there = old.prompts if old is not None else []
    lacking = [prompt for prompt in wanted if prompt not in set(there)]
    parts = path.with_name(path.name + ".parts")
    for prompt in lacking:
        part = _part(parts, prompt, encoder)
        if not part.is_file():
            features = encode(prompt).to(getattr(torch, encoder.dtype)).contiguous().cpu()
            with appearing(part) as temporary:
                save_file({"features": features}, temporary)
        progress(1)
    if lacking:
        _write(path, old, there, lacking, parts, encoder)
    shutil.rmtree(parts, ignore_errors=True)
    return lacking, [prompt for prompt in wanted if prompt not in set(lacking)]


def _part(folder: Path, prompt: str, encoder: EncoderIdentity) -> Path:
    """Encoder and prompt are in the name, so that parts of another encoder are never taken."""
    key = json.dumps([encoder.fingerprint, encoder.dtype, encoder.tokens, prompt])
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def _write(
    path: Path,
    old: TextCache | None,
    there: list[str],
    added: list[str],
    parts: Path,
    encoder: EncoderIdentity,
) -> None:
    """The safetensors format by hand: its library would want all prompts in memory at once."""

    def features(prompt: str) -> Tensor:
        if old is not None and (held := old.get_stored(prompt)) is not None:
            return held
        with safe_open(_part(parts, prompt, encoder), framework="pt") as file:
            return file.get_tensor("features")

    prompts = [*there, *added]
    header: dict[str, object] = {
        "__metadata__": {
            "xwam_text_cache": FORMAT,
            "prompts": json.dumps(prompts),
            "encoder": json.dumps(asdict(encoder)),
        }
    }
    start = 0
    for name, prompt in enumerate(prompts):
        tensor = features(prompt)
        header[str(name)] = {
            "dtype": _KINDS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.nbytes],
        }
        start += tensor.nbytes
    table = json.dumps(header).encode()
    table += b" " * (-len(table) % 8)
    with appearing(path) as temporary, temporary.open("wb") as file:
        file.write(len(table).to_bytes(8, "little") + table)
        for prompt in prompts:
            file.write(features(prompt).contiguous().flatten().view(torch.uint8).numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())
