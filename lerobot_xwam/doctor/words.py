"""The report as text for a terminal."""

from __future__ import annotations

from textwrap import wrap

from .examination import Report
from .findings import Finding

WIDTH = 100
SIGNS = {"problem": "PROBLEM", "remark": "remark ", "fine": "fine   "}


def as_text(report: Report, *, everything: bool = False) -> str:
    lines = [f"{report.name}"]
    lines += [f"  {name:<10} {value}" for name, value in report.facts.items()]
    lines.append("")
    shown = report.findings if everything else [f for f in report.findings if f.level != "fine"]
    for finding in shown:
        lines += _finding(finding)
    lines += ["", summary(report), "", heading(report)]
    lines.append("  " + " \\\n      ".join(report.command))
    return "\n".join(lines)


def summary(report: Report) -> str:
    counts = [
        _count(len(report.of("problem")), "problem"),
        _count(len(report.of("remark")), "remark"),
        f"{len(report.of('fine'))} checks fine",
    ]
    return ", ".join(counts)


def heading(report: Report) -> str:
    return "train with" if report.healthy else "when the problems are solved, train with"


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def _finding(finding: Finding) -> list[str]:
    if finding.level == "fine":
        return _wrapped(f"{SIGNS['fine']} {finding.check}: ", finding.what)
    lines = _wrapped(f"{SIGNS[finding.level]} {finding.check}: ", finding.what)
    for name in ("where", "why", "fix"):
        if text := getattr(finding, name):
            lines += _wrapped(f"{'':8}{name:<6}", text, indent=14)
    return lines


def _wrapped(first: str, text: str, indent: int = 8) -> list[str]:
    return wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
