"""The laws of training times: our draws against recorded quantiles, fractions, correlations and samples.

Both sides are finite samples, so every distance is given in standard errors of a difference of two samples;
the limit of 5 lets a true law fail about once in 10^6 comparisons. Two-sample Kolmogorov-Smirnov statistics
are scaled by sqrt(n m / (n + m)); the limit of 2.2 lets a true law fail once in 8000. Our seed is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from lerobot_xwam.model.noise import NoiseLaw, TimeLaw, draw_times
from lerobot_xwam.weights.encoder_keys import take

from .folder import ANS_SAID, ANS_SAMPLES, GoldenFolder
from .measure import Case, Measure

DRAWS = 200_000  # ten times the recording, so that its sampling error is what counts
STANDARD_ERRORS = 5.0
KS = 2.2
LAWS: dict[str, tuple[NoiseLaw, TimeLaw]] = {
    "ans": ("ans", "uniform"),
    "decoupled": ("decoupled", "uniform"),
    "sync_uniform": ("synchronous", "uniform"),
    "sync_beta": ("synchronous", "beta"),
}

Samples = dict[str, np.ndarray]


@dataclass(frozen=True)
class Law:
    clean_action_ratio: float
    shift: float


def cases(folder: GoldenFolder) -> list[Case]:
    said = folder.json(ANS_SAID)
    modes = [mode for mode, record in said.items() if isinstance(record, dict)]
    return [Case(f"ans.{mode}", partial(compare, folder, mode)) for mode in modes]


def compare(folder: GoldenFolder, mode: str) -> list[Measure]:
    said = folder.json(ANS_SAID)
    if mode not in LAWS:
        raise ValueError(f"our noise laws have no counterpart of {mode!r}: known are {', '.join(LAWS)}")
    law = read_law(said)
    ours = variables(*draw(mode, law), law.shift)
    measures = list(compare_record(said[mode], ours))
    recorded = take(folder.tensors(ANS_SAMPLES), f"{mode}.") if folder.has(ANS_SAMPLES) else {}
    if recorded:
        theirs = variables(recorded["t_O"].double().numpy(), recorded["t_a"].double().numpy(), law.shift)
        shared = [name for name in ours if len(ours[name]) > 1 and len(theirs[name]) > 1]
        measures += [kolmogorov_smirnov(name, ours[name], theirs[name]) for name in shared]
    return measures


def read_law(said: Mapping[str, Any]) -> Law:
    """The recording states its settings in a sentence: `Bern(clean_action_ratio=0.5) ... t'=5t/(1+4t)`."""
    formula = str(said.get("formula", ""))
    ratio = re.search(r"clean_action_ratio\s*=\s*([\d.]*\d)", formula)
    shift = re.search(r"t'\s*=\s*([\d.]+)\s*\*?\s*t\s*/", formula)
    return Law(float(ratio[1]) if ratio else 0.5, float(shift[1]) if shift else 5.0)


def draw(mode: str, law: Law) -> tuple[np.ndarray, np.ndarray]:
    noise_law, time_law = LAWS[mode]
    uniforms = torch.rand(DRAWS, 3, generator=torch.Generator().manual_seed(0))
    times = draw_times(
        DRAWS,
        law=noise_law,
        time_law=time_law,
        clean_action_ratio=law.clean_action_ratio,
        shift=law.shift,
        uniforms=uniforms,
    )
    t_video, t_action = (t.double().numpy() for t in times)
    return t_video, t_action


def variables(t_video: np.ndarray, t_action: np.ndarray, shift: float) -> Samples:
    """Everything that is recorded: both times, their conditionals, and values before the shift."""

    def unshift(t: np.ndarray) -> np.ndarray:
        return t / (shift - (shift - 1) * t)

    clean = t_action == 0
    noisy_video, noisy_action = unshift(t_video[~clean]), unshift(t_action[~clean])
    room = 1 - noisy_action
    return {
        "t_O": t_video,
        "t_a": t_action,
        "given_ta0.t_O": t_video[clean],
        "given_ta0.unshifted_t_O": unshift(t_video[clean]),
        "given_ta_pos.t_O": t_video[~clean],
        "given_ta_pos.t_a": t_action[~clean],
        "given_ta_pos.unshifted_t_O": noisy_video,
        # Where t_a is within rounding of 1, nothing is left to divide.
        "given_ta_pos.unshifted_b": ((noisy_video - noisy_action) / np.maximum(room, 1e-9))[room > 1e-3],
    }


def compare_record(record: Mapping[str, Any], ours: Samples) -> Iterator[Measure]:
    """Walks one mode's recorded numbers; `n` is how many draws they stand on."""
    n = record["n"]
    share_noisy = float((ours["t_a"] > 0).mean())
    for name in ("t_O", "t_a"):
        if name in record:
            yield mean_error(name, ours[name], record[name]["mean"], n)
            yield quantile_error(name, ours[name], record[name]["q"], n)
    if "frac_ta_zero" in record:
        yield fraction_error("share of t_a = 0", 1 - share_noisy, record["frac_ta_zero"], n)
    if "frac_tO_ge_ta" in record:
        yield fraction_error(
            "share of t_O >= t_a", float((ours["t_O"] >= ours["t_a"]).mean()), record["frac_tO_ge_ta"], n
        )
    if "corr" in record:
        yield correlation_error("correlation", ours["t_O"], ours["t_a"], record["corr"], n)
    for part, share in (("given_ta0", 1 - share_noisy), ("given_ta_pos", share_noisy)):
        for key, value in record.get(part, {}).items():
            name, count = f"{part}.{key.removesuffix('_q').removesuffix('_mean')}", max(1, round(share * n))
            if key.endswith("_q"):
                yield quantile_error(name, ours[name], value, count)
            elif key.endswith("_mean"):
                yield mean_error(name, ours[name], value, count)
            elif key == "corr":
                yield correlation_error(name, ours[f"{part}.t_O"], ours[f"{part}.t_a"], value, count)


def quantile_error(name: str, ours: np.ndarray, recorded: Mapping[str, float], n: int) -> Measure:
    """The worst recorded quantile: where our distribution function puts it, against where it belongs."""
    worst, where = 0.0, ""
    for level, value in recorded.items():
        p = float(level)
        edge = 1e-6 * max(abs(value), 1e-3)  # the recording's rounding
        below, up_to = float((ours < value - edge).mean()), float((ours <= value + edge).mean())
        distance = max(below - p, p - up_to, 0.0)  # an atom (t_a = 0) covers a whole range of levels
        error = distance / (p * (1 - p) * (1 / len(ours) + 1 / n)) ** 0.5
        if error >= worst:
            worst, where = error, f"at quantile {level}"
    return _standard_errors(f"quantiles of {name}", worst, where)


def mean_error(name: str, ours: np.ndarray, recorded: float, n: int) -> Measure:
    spread = float(ours.std()) * (1 / len(ours) + 1 / n) ** 0.5
    return _standard_errors(f"mean of {name}", abs(float(ours.mean()) - recorded) / spread)


def fraction_error(name: str, ours: float, recorded: float, n: int) -> Measure:
    p = (ours + recorded) / 2
    spread = (p * (1 - p) * (1 / DRAWS + 1 / n)) ** 0.5
    return _standard_errors(name, abs(ours - recorded) / spread if spread else 0.0)


def correlation_error(name: str, x: np.ndarray, y: np.ndarray, recorded: float, n: int) -> Measure:
    """The variance of a correlation of values that are not normal, from its influence function."""
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    ours = float((x * y).mean())
    influence = x * y - ours / 2 * (x**2 + y**2)
    spread = max(float(influence.std()) * (1 / len(x) + 1 / n) ** 0.5, 1e-6)  # zero where both are one time
    return _standard_errors(name, abs(ours - recorded) / spread)


def kolmogorov_smirnov(name: str, ours: np.ndarray, theirs: np.ndarray) -> Measure:
    points = np.concatenate([ours, theirs])
    gap = np.abs(
        np.searchsorted(np.sort(ours), points, side="right") / len(ours)
        - np.searchsorted(np.sort(theirs), points, side="right") / len(theirs)
    ).max()
    scale = (len(ours) * len(theirs) / (len(ours) + len(theirs))) ** 0.5
    return Measure(f"Kolmogorov-Smirnov of {name}", float(gap * scale), KS, "scaled KS distance")


def _standard_errors(what: str, value: float, note: str = "") -> Measure:
    return Measure(what, value, STANDARD_ERRORS, "standard errors", note)
