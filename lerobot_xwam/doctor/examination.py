"""All checks on one dataset -> a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .checks.table import CHECKS
from .findings import LEVELS, Finding, Level
from .patient import Patient


@dataclass(frozen=True)
class Report:
    name: str
    facts: dict[str, str]
    findings: list[Finding]
    command: list[str]  # lines of the suggested lerobot-train

    def of(self, level: Level) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]

    @property
    def healthy(self) -> bool:
        return not self.of("problem")

    def as_json(self) -> dict[str, Any]:
        return {
            "dataset": self.name,
            "healthy": self.healthy,
            "facts": self.facts,
            "counts": {level: len(self.of(level)) for level in LEVELS},
            "findings": [asdict(finding) for finding in self.findings],
            "command": " ".join(line.strip() for line in self.command),
        }


def examine(patient: Patient, leave_out: Sequence[str] = ()) -> list[Finding]:
    """Findings of all checks, the worst first, otherwise in the order of the table."""
    from tqdm import tqdm

    if unknown := sorted(set(leave_out) - CHECKS.keys()):
        raise ValueError(f"--skip {unknown[0]}: no such check; there are {', '.join(CHECKS)}")
    todo = {name: check for name, check in CHECKS.items() if name not in leave_out}
    found = [
        replace(finding, check=name)
        for name, check in tqdm(todo.items(), desc="checking", unit="check", leave=False, delay=2)
        for finding in check(patient)
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def facts(patient: Patient) -> dict[str, str]:
    folder, rows = patient.folder, patient.rows
    seconds = int(folder.lengths.sum() / folder.fps)
    read = "" if rows.count == rows.total else f" ({rows.count} of them read, evenly spread)"
    result = {
        "episodes": f"{len(folder.lengths)} of {folder.lengths.min()} to {folder.lengths.max()} frames",
        "frames": f"{rows.total} at {folder.fps:g} fps, {seconds // 60} min {seconds % 60} s{read}",
        "cameras": ", ".join(_camera(patient, key) for key in folder.cameras) or "none",
        "interface": ": ".join(patient.interface),
        "policy": f"{patient.config.num_frames} frames of {patient.config.height}x{patient.config.width}, "
        f"chunks of {patient.config.chunk_size} actions",
    }
    return result


def _camera(patient: Patient, key: str) -> str:
    height, width = patient.folder.features[key]["shape"][:2]
    depth = " with depth" if f"{key}_depth" in patient.folder.depths else ""
    return f"{key.removeprefix('observation.images.')} {height}x{width}{depth}"
