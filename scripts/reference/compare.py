"""The list of recordings and who compares each.

measure   how far two results are apart
folder    reading a folder of recordings
forward trace training generation solver laws encoders release datasets evaluation   one kind each
report    outcomes as a table and as JSON
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tqdm import tqdm

from . import folder as names
from .folder import GoldenFolder
from .measure import Case, Outcome, run_case


@dataclass(frozen=True)
class Recording:
    """Files of the folder, and the function `module.cases` that compares them."""

    name: str
    files: tuple[str, ...]  # all of them are needed
    module: str
    cases: str = "cases"


RECORDINGS = (
    Recording("forward", (names.FORWARD,), "forward"),
    Recording("forward_trace", (names.TRACE, names.FORWARD), "trace"),
    Recording("train", (names.TRAIN, names.TRAIN_SAID), "training"),
    Recording("generate", (names.GENERATE, names.GENERATE_SAID), "generation"),
    Recording("unipc", (names.UNIPC, names.UNIPC_SAID), "solver"),
    Recording("ans", (names.ANS_SAID,), "laws"),
    Recording("vae_tiny", (names.VAE,), "encoders", "vae_cases"),
    Recording("t5_tiny", (names.TEXT,), "encoders", "text_cases"),
    Recording("keys", (), "encoders", "name_cases"),
    Recording(
        names.LAYOUT,
        (names.LAYOUT_EXPECTED, names.LAYOUT_WAN, names.LAYOUT_YAML, names.FORWARD),
        "release",
        "layout_cases",
    ),
    Recording("spec_5b", (), "release", "spec_cases"),
    Recording("dataset", (names.DATASET, names.DATASET_SAID), "datasets"),
    Recording("compute_stats", (names.STATISTICS_SAID,), "datasets", "statistics_cases"),
    Recording("eval_io", (names.EVALUATION, names.EVALUATION_SAID), "evaluation"),
)


def find_cases(folder: GoldenFolder) -> tuple[list[Case], list[Outcome]]:
    """-> (what can be run, rows about what cannot). A checker that cannot be imported is a failure."""
    cases: list[Case] = []
    rows: list[Outcome] = []
    for recording in RECORDINGS:
        absent = [name for name in recording.files if not folder.has(name)]
        if absent:
            rows.append(Outcome(recording.name, "not in this folder", message=", ".join(absent)))
            continue
        try:
            checker: Any = import_module(f"{__package__}.{recording.module}")
            found = getattr(checker, recording.cases)(folder)
        except Exception as error:
            rows.append(Outcome(recording.name, "FAIL", message=f"{type(error).__name__}: {error}"))
            continue
        cases += found
        if not found:
            rows.append(Outcome(recording.name, "not in this folder"))
    return cases, rows


def chosen(name: str, only: Sequence[str]) -> bool:
    """`--only forward train.ans` takes whole recordings and single cases."""
    return not only or any(name == wanted or name.startswith(f"{wanted}.") for wanted in only)


def compare_folder(folder: GoldenFolder, only: Sequence[str] = ()) -> list[Outcome]:
    """Every chosen case of the folder, with a progress line on stderr."""
    cases, rows = find_cases(folder)
    outcomes = []
    progress = tqdm([case for case in cases if chosen(case.name, only)], unit="case", mininterval=0.5)
    for case in progress:
        progress.set_description(case.name, refresh=False)
        outcomes.append(run_case(case))
    return outcomes + [row for row in rows if chosen(row.name, only)]
