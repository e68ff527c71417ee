"""What a check says: how bad, what, where, why it matters and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["problem", "remark", "fine"]
LEVELS: tuple[Level, ...] = ("problem", "remark", "fine")


@dataclass(frozen=True)
class Finding:
    level: Level
    what: str
    where: str = ""  # e.g. "episode 3, frame 17"
    why: str = ""
    fix: str = ""
    options: tuple[str, ...] = ()  # of lerobot-train, e.g. "--policy.num_frames=5"
    check: str = ""  # its name in checks/table.py, filled in by the examination


class CannotRead(ValueError):
    """There is no dataset, or so little of it that nothing can be said."""


def problem(what: str, *, why: str, fix: str, where: str = "", options: tuple[str, ...] = ()) -> Finding:
    """Training would fail, or learn something wrong."""
    return Finding("problem", what, where, why, fix, options)


def remark(what: str, *, why: str, fix: str, where: str = "", options: tuple[str, ...] = ()) -> Finding:
    """Training works; a person should know and decide."""
    return Finding("remark", what, where, why, fix, options)


def fine(what: str, *, why: str = "", options: tuple[str, ...] = ()) -> Finding:
    return Finding("fine", what, why=why, options=options)


def listed(items: list[str], most: int = 4) -> str:
    """a, b, c, d and 7 more"""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")
