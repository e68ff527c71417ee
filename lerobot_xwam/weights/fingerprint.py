"""Which weights are these? A short name of their content, to find out whether an adapter is on its base.

Every tensor takes part with its name, dtype, shape and bytes: tensors up to 1 MiB whole, larger ones with 16
blocks of 16 KiB spread over them, the first and the last included. Training, merging, converting and rounding
change every tensor that they touch nearly everywhere, so another base cannot hide between the blocks, and
20 GB cost under a second instead of half a minute at every start of a robot. It is no protection against a
forger, and none against a flipped bit. The order of tensors in the file and its metadata do not count:
saving the same weights again gives the same fingerprint.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from .safetensors_index import read_file
from .stored import Stored

VERSION = "v1"  # of the recipe above; another recipe must not look like other weights
WHOLE = 2**20  # bytes
BLOCK, BLOCKS = 16 * 2**10, 16


def fingerprint(path: Path) -> str:
    """-> "v1:" and 64 hexadecimal digits"""
    digest = hashlib.sha256()
    table = read_file(path)
    with path.open("rb") as file:
        for name in sorted(table):
            stored = table[name]
            digest.update(f"{name} {stored.dtype} {tuple(stored.shape)} {stored.nbytes}\n".encode())
            for start, length in _blocks(stored):
                digest.update(_read(file, start, length))
    return f"{VERSION}:{digest.hexdigest()}"


def verify_base(path: Path, wanted: str, trained_on: str) -> None:
    """Refuse a base other than the one an adapter was trained on."""
    if not wanted.startswith(f"{VERSION}:"):
        raise ValueError(
            f"the adapter names its base by {wanted!r}, a fingerprint that is not known here: "
            "pip install --upgrade lerobot_policy_xwam"
        )
    if (found := fingerprint(path)) != wanted:
        raise ValueError(
            f"wrong base for this adapter:\n  trained on {trained_on}, with fingerprint {wanted}\n"
            f"  found      {path}, with fingerprint {found}\n"
            "Together they would act at random. Name the right base, a folder or Hub id, as "
            "base_model_name_or_path in the adapter's adapter_config.json (a base named .../last/... has "
            "moved on if that run was continued: name the numbered checkpoint), or train the adapter anew"
        )


def _blocks(stored: Stored) -> list[tuple[int, int]]:
    """Offset and length in the file of what is looked at."""
    if stored.nbytes <= WHOLE:
        return [(stored.offset, stored.nbytes)]
    last = stored.nbytes - BLOCK
    return [(stored.offset + last * i // (BLOCKS - 1), BLOCK) for i in range(BLOCKS)]


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)
