"""What became of every tensor of a conversion, for the screen and for the record."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import torch

from .outgoing import Outgoing
from .stored import Stored

Fate = Literal["used", "renamed", "copied", "remapped", "new", "dropped"]
SHOWN = 8  # names in an error message


@dataclass(frozen=True)
class Entry:
    fate: Fate
    ours: str | None  # name in what is written; None: dropped
    theirs: str | None  # name in the source; None: new
    why: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def as_json(self) -> dict[str, Any]:
        return {
            "fate": self.fate,
            "written_as": self.ours,
            "source": self.theirs,
            "why": self.why,
            "shape": list(self.shape),
            "dtype": str(self.dtype).removeprefix("torch."),
        }


@dataclass
class Account:
    title: str  # what was converted into what
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a user should know besides

    def keep(self, written: Outgoing, theirs: str, why: str = "", fate: Fate | None = None) -> None:
        """A tensor of the source goes on, under its own or another name."""
        known = fate or ("used" if written.name == theirs else "renamed")
        self.entries.append(Entry(known, written.name, theirs, why, written.shape, written.dtype))

    def new(self, written: Outgoing, why: str) -> None:
        self.entries.append(Entry("new", written.name, None, why, written.shape, written.dtype))

    def drop(self, theirs: str, stored: Stored, why: str) -> None:
        self.entries.append(Entry("dropped", None, theirs, why, stored.shape, stored.dtype))

    def text(self) -> str:
        """The table, one line per fate and reason, and the notes."""
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault((entry.fate, entry.why), []).append(entry)
        lines = [self.title, "", f"{'':10}{'tensors':>8}{'parameters':>16}{'MB':>12}  why"]
        for (fate, why), entries in groups.items():
            parameters = sum(prod(entry.shape) for entry in entries)
            size = sum(prod(entry.shape) * entry.dtype.itemsize for entry in entries) / 1e6
            lines.append(f"{fate:10}{len(entries):8}{parameters:16,}{size:12,.2f}  {why}".rstrip())
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        return json.dumps(
            {
                "title": self.title,
                "notes": self.notes,
                "tensors": [entry.as_json() for entry in self.entries],
            },
            indent=1,
        )


def listed(names: Iterable[str]) -> str:
    """Names for an error message: the first ones, and how many more."""
    names = list(names)
    more = f" ... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
