"""Numbers: NaN, dimensions that never move, outliers, jumps, and the statistics that came along."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.data.layout import quaternion_dims
from lerobot_xwam.data.scaling import CONSTANT, Scaling

from ..findings import Finding, fine, listed, problem, remark
from ..patient import ACTION_KEY, STATE_KEY, Patient

FAR = 10.0  # of scaled values: the network sees 1 for the 99 % quantile
WIDE = 5.0  # the same by averaged quantiles
TURNS = (2 * np.pi, 360.0)

Quantiles = dict[str, dict[str, NDArray[np.float64]]]


def finite(patient: Patient) -> Iterator[Finding]:
    """NaN and infinity: training stops there."""
    for key, values in patient.rows.raw.items():
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            dim = int(bad[0, 1])
            yield problem(
                f"{key}: {len(bad)} NaN or infinite values, first in {patient.names(key)[dim]!r}",
                where=listed(list(dict.fromkeys(patient.rows.place(int(i)) for i in bad[:, 0]))),
                why="training stops with an error at the first of them, and statistics are spoilt",
                fix="drop these episodes with lerobot-edit-dataset and look after the sensor",
            )
        else:
            yield fine(f"{key}: all {values.size} numbers are finite")


def constant(patient: Patient) -> Iterator[Finding]:
    """Numbers that never change, beside others that say they should."""
    if not patient.has_vectors:
        return
    still = {key: _still(patient.rows.vector(key)) & ~patient.absent[key] for key in patient.rows.raw}
    names = {key: patient.names(key) for key in patient.rows.raw}
    stuck: list[str] = []
    unmoved: list[str] = []
    for state, action, name in _counterparts(patient):
        if patient.absent[STATE_KEY][state]:
            continue
        if still[STATE_KEY][state] and still[ACTION_KEY][action]:
            unmoved.append(name)
        elif still[STATE_KEY][state]:
            stuck.append(f"the state's {name!r}, which is commanded to move")
        elif still[ACTION_KEY][action]:
            stuck.append(f"the action's {names[ACTION_KEY][action]!r}, though {name!r} moves")
    if stuck:
        yield problem(
            "never changes: " + listed(stuck),
            why="a sensor or command was not recorded: the policy could not learn to move this part",
            fix="record it; if the column was filled in by hand, leave it out",
        )
    if unmoved:
        yield remark(
            f"neither measured nor commanded to move: {listed(unmoved)}",
            why="it carries nothing to learn; after training the policy will never move it",
            fix="intended? Then nothing. If not, record episodes in which it moves",
        )
    rest = {key: [names[key][i] for i in np.flatnonzero(still[key])] for key in still}
    if not stuck and not unmoved:
        said = [f"{key}: {listed(rest[key])}" for key in rest if rest[key]]
        yield fine(
            "constant, and scaled as such: " + "; ".join(said) if said else "every dimension moves",
        )


def outliers(patient: Patient) -> Iterator[Finding]:
    """Values far outside of the quantiles that scale them."""
    if not patient.has_vectors:
        return
    scaled = _scaled(patient, _real_quantiles(patient))
    found = False
    for key, values in scaled.items():
        worst = np.abs(values).max(axis=0)
        for dim in np.flatnonzero(worst > FAR):
            found = True
            row = int(np.abs(values[:, dim]).argmax())
            name, value = patient.names(key)[dim], patient.rows.vector(key)[row, dim]
            yield remark(
                f"{key}: {name!r} reaches {value:.4g}, {worst[dim]:.0f} times its 99 % range, in "
                f"{int((np.abs(values[:, dim]) > FAR).sum())} frames",
                where=patient.rows.place(row),
                why="the network is trained on values near 1; this one dominates the loss of its batch",
                fix="a glitch of the sensor? Drop the episode. A rare real motion? Record it more often",
            )
    if not found:
        most = max((float(np.abs(values).max()) for values in scaled.values()), default=0.0)
        yield fine(f"no outliers: scaled values stay below {most:.1f}")


def jumps(patient: Patient) -> Iterator[Finding]:
    """Angles that wrap around, and arms that are elsewhere from one frame to the next."""
    if not patient.has_vectors:
        return
    now, then = patient.rows.pairs(1)
    dims = [i for i, name in enumerate(patient.names(STATE_KEY)) if "grip" not in name.lower()]
    if patient.interface[0] == "ee":
        dims = [i for i in dims if i not in quaternion_dims(patient.state.shape[1])]
    found = False
    for dim in dims:
        values = patient.state[:, dim].astype(np.float64)
        steps = np.abs(values[then] - values[now])
        if not steps.size or not (span := float(np.subtract(*np.quantile(values, [0.99, 0.01])))):
            continue
        usual = float(np.quantile(steps, 0.95))
        inside = np.abs(values - np.median(values)) < FAR / 2 * span  # further out is an outlier
        big = (steps > 0.5 * span) & (steps > 8 * usual) & inside[now] & inside[then]
        if not big.any():
            continue
        found = True
        first, name = int(np.flatnonzero(big)[0]), patient.names(STATE_KEY)[dim]
        turn = next((t for t in TURNS if np.abs(steps[big] / t - 1).max() < 0.05), None)
        where = f"{int(big.sum())} times, first at {patient.rows.place(int(then[first]))}"
        if turn and patient.interface[0] == "native":
            yield problem(
                f"{STATE_KEY}: {name!r} wraps around by {turn:.4g}",
                where=where,
                why="two neighbouring poses are as far apart as can be, and half-way is the opposite side",
                fix="unwrap the angle when recording, or shift its zero away from where the arm works",
            )
        else:
            yield remark(
                f"{STATE_KEY}: {name!r} jumps by {steps[big].max():.4g} in one frame",
                where=where,
                why="frames are missing there, or two recordings were joined into one episode",
                fix="cut the episode there, or drop it with lerobot-edit-dataset",
            )
    if not found:
        yield fine("states move without jumps")


def statistics(patient: Patient) -> Iterator[Finding]:
    """Does stats.json belong to these frames?"""
    stats = patient.folder.stats
    if stats is None:
        yield problem(
            "meta/stats.json is missing",
            why="states and actions are scaled by it",
            fix="write it with lerobot-edit-dataset --operation.type=recompute_stats",
        )
        return
    stale: list[str] = []
    for key, raw in patient.rows.raw.items():
        if not np.isfinite(raw).all():
            continue  # said by another check
        known = stats.get(key, {})
        if missing := [name for name in ("min", "max") if name not in known]:
            stale.append(f"{key} has no {missing[0]!r}")
            continue
        low, high = raw.min(axis=0), raw.max(axis=0)
        room = 1e-3 * np.maximum(high - low, 1e-6) + 1e-5 * np.maximum(np.abs(low), np.abs(high))
        if known["min"].size != low.size:
            stale.append(f"{key} has {known['min'].size} numbers, frames have {low.size}")
            continue
        off = (low < known["min"].ravel() - room) | (high > known["max"].ravel() + room)
        if patient.rows.total == patient.rows.count:
            off |= (low > known["min"].ravel() + room) | (high < known["max"].ravel() - room)
        if off.any():
            dim = int(np.flatnonzero(off)[0])
            stale.append(
                f"{key} {patient.names(key)[dim]!r} goes from {low[dim]:.4g} to {high[dim]:.4g}, "
                "stats.json says "
                f"{known['min'].ravel()[dim]:.4g} to {known['max'].ravel()[dim]:.4g}"
            )
    if stale:
        yield problem(
            "stats.json is not of these frames: " + listed(stale, 2),
            why="X-WAM counts its quantiles anew where it finds the frames, but streaming and other policies "
            "scale by this file",
            fix="lerobot-edit-dataset --operation.type=recompute_stats",
        )
    else:
        yield fine("stats.json agrees with the frames")


def averaged_quantiles(patient: Patient) -> Iterator[Finding]:
    """LeRobot averages the quantiles of its episodes; how far off is that here?"""
    stats = patient.folder.stats
    keys = (STATE_KEY, ACTION_KEY)
    known = stats is not None and all({"q01", "q99"} <= stats.get(key, {}).keys() for key in keys)
    if not patient.has_vectors or stats is None or not known:
        return
    tables = [(key, stats[key][name]) for key in keys for name in ("q01", "q99")]
    if any(
        each.size != patient.rows.raw[key].shape[1] or not np.isfinite(each).all() for key, each in tables
    ):
        return  # said by `statistics` and `finite`
    real = _real_quantiles(patient)
    averaged = _scaled(patient, {key: stats[key] for key in keys}, rows=real)
    worst = {key: float(np.abs(values).max()) for key, values in averaged.items()}
    key = max(worst, key=lambda each: worst[each])
    if worst[key] > WIDE:
        dim = int(np.abs(averaged[key]).max(axis=0).argmax())
        yield remark(
            f"stats.json: the 1 % and 99 % quantiles of {key} {patient.names(key)[dim]!r} lie far inside "
            "of the real "
            f"ones, which would be trained as {worst[key]:.1f} instead of 1",
            why="LeRobot averages the quantiles of its episodes, and here episodes cover different "
            "ranges. X-WAM "
            "counts them over all frames instead; other policies and streaming do not",
            fix="nothing, if the dataset is on the disk where X-WAM trains",
        )
    else:
        yield fine(f"averaged quantiles are near the real ones (those are at {worst[key]:.1f} instead of 1)")


def _counterparts(patient: Patient) -> Iterator[tuple[int, int, str]]:
    """(state dim, action dim, name) of numbers of which one moves the other."""
    names = patient.names(STATE_KEY)
    if patient.interface[0] == "ee":
        for arm in range(patient.state.shape[1] // 8):
            for state, action in ((0, 0), (1, 1), (2, 2), (7, 6)):
                yield 8 * arm + state, 7 * arm + action, names[8 * arm + state]
    else:
        yield from patient.paired


def _still(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    low, high = values.min(axis=0), values.max(axis=0)
    return (high - low) / 2 < np.maximum(CONSTANT * np.maximum(np.abs(low), np.abs(high)), 1e-6)


def _real_quantiles(patient: Patient) -> Quantiles:
    result = {}
    for key in (STATE_KEY, ACTION_KEY):
        low, high = np.quantile(patient.rows.vector(key), [0.01, 0.99], axis=0)
        result[key] = {"q01": low, "q99": high}
    return result


def _scaled(
    patient: Patient, quantiles: Quantiles, rows: Quantiles | None = None
) -> dict[str, NDArray[np.float32]]:
    """All frames (or the rows given) as the network would see them with these quantiles."""
    import torch

    scaling = Scaling.fit(patient.interface[0], quantiles, STATE_KEY, ACTION_KEY)
    result = {}
    for key, scale in ((STATE_KEY, scaling.state), (ACTION_KEY, scaling.action)):
        values = patient.rows.vector(key) if rows is None else np.stack(list(rows[key].values()))
        result[key] = scale(torch.as_tensor(values, dtype=torch.float32)).numpy()
    return result
