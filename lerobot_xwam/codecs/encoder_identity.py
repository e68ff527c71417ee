"""Which text encoder made some features: what a cache of them must agree on with whoever reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from .source import locate

READ_WHOLE = 64 * 2**20  # bytes; smaller files are hashed completely
SAMPLES, SAMPLE = 256, 4096  # of larger ones: so many places, so many bytes each


@dataclass(frozen=True)
class EncoderIdentity:
    source: str  # as the user named it; may differ between equal encoders
    commit: str | None  # of a Hub repo
    tokens: int  # every prompt is padded or cut to so many
    dtype: str  # of the encoder's weights and products
    fingerprint: str

    def difference(self, other: EncoderIdentity) -> str | None:
        """Why features of the two are not the same. Where the files lie does not matter."""
        for name in ("tokens", "dtype", "fingerprint"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                return f"{name} {ours} instead of {theirs}"
        return None


def identify(source: str, revision: str | None, dtype: torch.dtype, tokens: int) -> EncoderIdentity | None:
    """The identity of an encoder whose files are at hand, on this disk; None if they are not."""
    folder, commit = files_at_hand(source, revision)
    if folder is None:
        return None
    return EncoderIdentity(source, commit, tokens, str(dtype).removeprefix("torch."), fingerprint(folder))


def files_at_hand(source: str, revision: str | None) -> tuple[Path | None, str | None]:
    """-> (folder with text_encoder/ and tokenizer/ or None, commit if it is a Hub repo's). No downloads."""
    path, local = locate(source, parts=())
    if local:
        folder, commit = Path(path), None
    else:
        try:
            folder = Path(snapshot_download(path, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
            return None, None
        commit = folder.name
    held = [*folder.glob("text_encoder/*.safetensors"), *folder.glob("text_encoder/*.bin")]
    complete = held and (folder / "text_encoder/config.json").is_file() and (folder / "tokenizer").is_dir()
    return (folder, commit) if complete else (None, None)


def fingerprint(folder: Path) -> str:
    """A hash of the encoder and its tokenizer that takes milliseconds, not the minutes of reading 11 GB.

    Covered: every byte of small files (the encoder's config and shard index, the tokenizer); of weight files
    their name, size, header (names, shapes and dtypes of all tensors) and 256 blocks of 4 KiB spread evenly
    over them. So another architecture, size, dtype, sharding or tokenizer, a cut-off download, and a
    fine-tuned encoder (all of its weights moved) are told apart. A change of a few weights that falls between
    all the blocks is not seen.
    """
    digest = hashlib.sha256()
    files = [
        path
        for part in ("text_encoder", "tokenizer")
        for path in sorted((folder / part).iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.parent.name}/{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            if size <= READ_WHOLE:
                digest.update(file.read())
            else:
                _sample(file, size, digest.update)
    return digest.hexdigest()[:32]


def _sample(file: BinaryIO, size: int, update: Callable[[bytes], object]) -> None:
    header = int.from_bytes(file.read(8), "little")
    if 0 < header <= READ_WHOLE:  # of a safetensors file
        update(file.read(header))
    for i in range(SAMPLES):
        file.seek(i * (size - SAMPLE) // (SAMPLES - 1))
        update(file.read(SAMPLE))
