"""Success under delay as a table and a picture, with 95 % intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lerobot_xwam.files import appearing

Z = 1.959964  # two-sided 95 %


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """Shares between which the true one lies."""
    share, weight = successes / episodes, Z**2 / episodes
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * ((share * (1 - share) + weight / 4) / episodes) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def write(out: Path, rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """-> the table"""
    text = table(rows, facts)
    for name, content in (
        ("rtc_success.json", _as_json(rows, facts)),
        ("rtc_success.md", text),
    ):
        with appearing(out / name) as file:
            file.write_text(content, encoding="utf-8")
    draw(out / "rtc_success.png", rows, facts)
    return text


def _as_json(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """One line a row: hundreds of episodes stay readable."""
    lines = ",\n".join(json.dumps(row) for row in rows)
    return f'{{"facts": {json.dumps(facts)},\n"rows": [\n{lines}\n]}}\n'


def table(rows: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [f"| delay (actions) | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for delay in sorted({row["delay"] for row in rows}):
        cells = []
        for method in methods:
            found = [row for row in rows if (row["method"], row["delay"]) == (method, delay)]
            cells.append(_cell(found[0]["successes"], found[0]["episodes"]) if found else "-")
        lines.append(f"| {delay} | {' | '.join(cells)} |")
    lines += ["", ", ".join(f"{name} {value}" for name, value in facts.items())]
    return "\n".join(lines) + "\n"


def _cell(successes: int, episodes: int) -> str:
    low, high = wilson(successes, episodes)
    return f"{100 * successes / episodes:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def draw(path: Path, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        mine = sorted((row for row in rows if row["method"] == method), key=lambda row: row["delay"])
        delays = [row["delay"] + 0.08 * (number - 1) for row in mine]
        shares = [row["successes"] / row["episodes"] for row in mine]
        bounds = [wilson(row["successes"], row["episodes"]) for row in mine]
        below = [share - low for share, (low, _) in zip(shares, bounds, strict=True)]
        above = [high - share for share, (_, high) in zip(shares, bounds, strict=True)]
        axis.errorbar(delays, shares, yerr=[below, above], marker="o", capsize=3, label=method)
    axis.set_xlabel("delay of a chunk (actions)")
    axis.set_ylabel("success")
    axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)
    axis.legend()
    axis.set_title(f"{facts['task']}: {rows[0]['episodes']} episodes each, 95 % intervals", fontsize=10)
    with appearing(path) as file:
        figure.savefig(file, dpi=120, format="png")
    plt.close(figure)
