"""How long it will take: from what was measured in this folder, else from a first guess that says so."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .variants import VARIANTS

# Seconds per unit of the small preset on one idle core, where nothing was measured yet: a training step of
# 32, an episode in the simulator, a held-out episode imagined, a latency. A guess: machines differ greatly.
GUESS = {"train": 0.6, "success": 13.0, "imagined": 8.0, "latency": 5.0}
# Against the full method, from the number of tokens and of network calls; also a guess.
HEAVIER = {
    ("train", "sequence"): 1.8,
    ("train", "none"): 0.8,
    ("success", "sequence"): 1.3,
    ("success", "synchronous"): 2.0,
    ("imagined", "sequence"): 1.8,
    ("latency", "synchronous"): 2.0,
}
START_S = 30.0  # per process: imports, the simulator, compilation


@dataclass(frozen=True)
class Timings:
    """What every stage took, in a file of the ablation's folder."""

    path: Path

    @contextmanager
    def of(self, kind: str, variant: str, units: int) -> Iterator[None]:
        """Note how long the body takes, unless it fails."""
        start = time.monotonic()
        yield
        line = {"kind": kind, "variant": variant, "units": units, "seconds": time.monotonic() - start}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def measured(self, kind: str, variant: str | None = None) -> float | None:
        """Median of the seconds per unit; None: not measured here yet."""
        if not self.path.is_file():
            return None
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        found = [
            line["seconds"] / line["units"] / (1.0 if variant else HEAVIER.get((kind, line["variant"]), 1.0))
            for line in lines
            if line["kind"] == kind and line["units"] and variant in (None, line["variant"])
        ]
        return statistics.median(found) if found else None

    def seconds(self, kind: str, variant: str, units: int) -> tuple[float, bool]:
        """-> (expected seconds, whether they rest on a measurement of this kind of work)"""
        assert variant in VARIANTS
        if (same := self.measured(kind, variant)) is not None:
            return units * same, True
        factor = HEAVIER.get((kind, variant), 1.0)
        if (any_variant := self.measured(kind)) is not None:
            return units * factor * any_variant, True
        return START_S + units * factor * GUESS[kind], False


def in_words(seconds: float, measured: bool) -> str:
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    length = f"{hours} h {rest:02d} min" if hours else f"{max(1, minutes)} min"
    return f"about {length}" + (
        "" if measured else " (a first guess; it gets better once stages were measured)"
    )
