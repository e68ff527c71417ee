"""How far two results are apart, and what becomes of it.

A Case takes measures, an Outcome keeps them. A case passes if every one of its measures does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

FLOAT32 = 1e-4  # re-ordered float32 sums differ by 1e-6 to 1e-5 of std; the mildest known mistake by 3e-4

Status = Literal["PASS", "FAIL", "not in this folder"]


@dataclass(frozen=True)
class Measure:
    what: str
    value: float
    tolerance: float
    unit: str = "max|diff|/std"
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.value <= self.tolerance  # False for NaN

    @property
    def severity(self) -> float:
        """The value in units of its tolerance, so that measures of several kinds can be ranked."""
        if self.passed:
            return self.value / self.tolerance if self.tolerance else 0.0
        return (
            max(self.value / self.tolerance, 1.0)
            if self.tolerance and self.value == self.value
            else float("inf")
        )


@dataclass(frozen=True)
class Case:
    name: str
    take: Callable[[], list[Measure]]


@dataclass(frozen=True)
class Outcome:
    name: str
    status: Status
    measures: tuple[Measure, ...] = ()
    message: str = ""

    @property
    def worst(self) -> Measure | None:
        return max(self.measures, key=lambda measure: measure.severity, default=None)


def run_case(case: Case) -> Outcome:
    """Whatever goes wrong inside is a failure of this case, never of the whole run."""
    try:
        measures = tuple(case.take())
    except Exception as error:
        return Outcome(case.name, "FAIL", message=f"{type(error).__name__}: {error}")
    if not measures:
        return Outcome(case.name, "FAIL", message="nothing was compared")
    return Outcome(case.name, "PASS" if all(measure.passed for measure in measures) else "FAIL", measures)


def difference(what: str, ours: Tensor | None, reference: Tensor, tolerance: float = FLOAT32) -> Measure:
    """max|ours - reference| / std(reference)."""
    if ours is None:
        return Measure(what, float("inf"), tolerance, note="our code gives none")
    if ours.shape != reference.shape:
        return _wrong_shape(what, ours, reference, tolerance)
    ours, reference = ours.detach().double().cpu(), reference.double().cpu()
    return Measure(what, (ours - reference).abs().max().item() / _scale(reference), tolerance)


def rms_difference(what: str, ours: Tensor | None, reference: Tensor, tolerance: float) -> Measure:
    """The root of the mean square in place of the maximum, for references that are noisy themselves."""
    if ours is None:
        return Measure(what, float("inf"), tolerance, "rms diff/std", "our code gives none")
    if ours.shape != reference.shape:
        return _wrong_shape(what, ours, reference, tolerance)
    ours, reference = ours.detach().double().cpu(), reference.double().cpu()
    rms = (ours - reference).square().mean().sqrt().item()
    return Measure(what, rms / _scale(reference), tolerance, "rms diff/std")


def identical(what: str, ours: Tensor, reference: Tensor) -> Measure:
    """Whole numbers, booleans and copies: how many entries differ."""
    if ours.shape != reference.shape:
        return _wrong_shape(what, ours, reference, 0.0)
    return Measure(what, float((ours.cpu() != reference.cpu()).sum().item()), 0.0, "entries that differ")


def same_number(what: str, ours: float, reference: float, floor: float = 0.0) -> Measure:
    """A single number: the difference relative to the reference, or absolute where that is zero."""
    scale = max(abs(reference), floor) or 1.0
    return Measure(what, abs(ours - reference) / scale, FLOAT32, "|diff|/|reference|")


def same_names(what: str, ours: set[str], reference: set[str]) -> Measure:
    only_ours, only_theirs = sorted(ours - reference), sorted(reference - ours)
    note = "; ".join(
        f"{label}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for label, names in (("only ours", only_ours), ("only in the reference", only_theirs))
        if names
    )
    return Measure(what, float(len(only_ours) + len(only_theirs)), 0.0, "names that differ", note)


def _scale(reference: Tensor) -> float:
    std = reference.std().item() if reference.numel() > 1 else 0.0
    return std or reference.abs().max().item() or 1.0


def _wrong_shape(what: str, ours: Tensor, reference: Tensor, tolerance: float) -> Measure:
    note = f"our shape is {tuple(ours.shape)}, the reference's {tuple(reference.shape)}"
    return Measure(what, float("inf"), tolerance, note=note)


def unique_prefixes(keys: list[str]) -> list[str]:
    """First parts of dotted names, in order, without the shared inputs."""
    return list(dict.fromkeys(key.split(".")[0] for key in keys if not key.startswith("in.")))


def as_tensor(values: list[int] | list[bool]) -> Tensor:
    return torch.tensor(values)
