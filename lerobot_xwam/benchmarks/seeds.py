"""The noise seeds of the authors' evaluations: one per task, episode and step."""

from __future__ import annotations

import hashlib


def chunk_seed(task: int, episode: int, step: int) -> int:
    """A number below 2^32 from which task (0, 1, ...), episode and environment step it is."""
    digest = hashlib.md5(f"{task}_{episode}_{step}".encode(), usedforsecurity=False)
    return int.from_bytes(digest.digest(), "big") % 2**32
