"""Which seed is tried next, and which episodes make the dataset.

Task t of T tries the seeds first + t, first + t + T, ... until it has enough: no seed is used twice, and the
result is the same whatever the number of workers and however often the run was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class TaskSchedule:
    """The attempts of one task."""

    task: str
    first: int
    stride: int
    wanted: int
    kept: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)

    def next_seed(self) -> int | None:
        """A seed to try now; None while those that run may be enough, or all are there.

        In ascending order and never more than needed, so that none is thrown away.
        """
        if len(self.kept) + len(self.running) >= self.wanted:
            return None
        seed = self.first
        while seed in self.kept or seed in self.failed or seed in self.running:
            seed += self.stride
        self.running.add(seed)
        return seed

    def settle(self, seed: int, success: bool) -> None:
        """How an attempt ended."""
        self.running.discard(seed)
        (self.kept if success else self.failed).add(seed)

    @property
    def chosen(self) -> list[int]:
        """The seeds of the dataset, ascending."""
        return sorted(self.kept)[: self.wanted]


def schedules(tasks: Sequence[str], first_seed: int, episodes: int) -> list[TaskSchedule]:
    """The episodes shared out as evenly as can be, the first tasks having one more."""
    share, rest = divmod(episodes, len(tasks))
    return [
        TaskSchedule(task, first_seed + index, len(tasks), share + (index < rest))
        for index, task in enumerate(tasks)
    ]


def interleaved(each: Sequence[TaskSchedule]) -> list[tuple[str, int]]:
    """Task and seed of every episode, in the dataset's order: the tasks take turns."""
    ranked = [(rank, index) for index, one in enumerate(each) for rank in range(len(one.chosen))]
    return [(each[index].task, each[index].chosen[rank]) for rank, index in sorted(ranked)]
