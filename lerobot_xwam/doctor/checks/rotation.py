"""Quaternions: length, order of their numbers, jumps between q and -q."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lerobot_xwam.space.rotations import Array, canonical, inverse, multiply, vector_from_quaternion

from ..findings import Finding, fine, problem, remark
from ..patient import STATE_KEY, Patient
from .motion import LAGS, agreement

XYZW_AS_WXYZ = [3, 0, 1, 2]  # where w x y z stand if the numbers are x y z w


@dataclass(frozen=True)
class Quaternion:
    name: str
    values: Array  # N 4, in the order as stored
    turns: Array | None  # N 3: commanded axis-angle steps, in the universal interface


def quaternion_length(patient: Patient) -> Iterator[Finding]:
    """Are they unit quaternions?"""
    for each in quaternions(patient):
        off = np.abs(np.linalg.norm(each.values, axis=1) - 1)
        if off.max() > 0.01:
            row = int(off.argmax())
            yield problem(
                f"{each.name}: length {np.linalg.norm(each.values[row]):.3g} instead of 1, in "
                f"{int((off > 0.01).sum())} frames",
                where=patient.rows.place(row),
                why="it is no rotation: averaged, wrongly ordered, or Euler angles under a wrong name",
                fix="divide by the length if it was rounded or averaged; else write quaternions w x y z",
            )
        else:
            yield fine(f"{each.name}: unit quaternion")


def quaternion_order(patient: Patient) -> Iterator[Finding]:
    """w x y z, as the universal interface has it, or x y z w?"""
    for order, name in named_quaternions(patient.names(STATE_KEY)) if patient.has_vectors else ():
        if order != "wxyz" and patient.interface[0] == "native" and patient.state.shape[1] in (8, 16):
            yield problem(
                f"{name}: the numbers are named in the order {' '.join(order)}",
                why="the universal interface has w x y z; under these names the state is taken for joints",
                fix="put w first, in the numbers and in the names; then interface 'ee' is found",
            )
    for each in quaternions(patient):
        if each.turns is None:
            continue
        as_named, swapped, turned = _agreements(patient, each)
        positive = (each.values[:, 3] >= 0).all() and each.values[:, 3].min() > 0.05
        if turned and swapped > 0.6 and swapped > as_named + 0.3:
            yield problem(
                f"{each.name}: named w x y z, but only as x y z w does it turn as the actions command "
                f"(agreement {swapped:.2f}, as named {as_named:.2f})",
                why="every rotation is another one: nothing that the policy learns of it is true",
                fix="put w first: state[..., 3:7] = state[..., [6, 3, 4, 5]]",
            )
        elif as_named < 0.6 and positive and (each.values[:, 0] < 0).any() and (each.values[:, 0] > 0).any():
            yield remark(
                f"{each.name}: the fourth number is never negative, the first is both",
                why="that is how x y z w looks when w is kept positive; the universal interface has w x y z",
                fix="look at the recording's code; if so, state[..., 3:7] = state[..., [6, 3, 4, 5]]",
            )
        elif turned and as_named > 0.6:
            yield fine(f"{each.name}: w x y z, for it turns as the actions command ({as_named:.2f})")
        else:
            yield fine(f"{each.name}: whether it is w x y z or x y z w cannot be told, it turns too little")


def quaternion_sign(patient: Patient) -> Iterator[Finding]:
    """q and -q are the same rotation, but not the same numbers."""
    now, then = patient.rows.pairs(1)
    for each in quaternions(patient):
        q = each.values
        flips = (q[now] * q[then]).sum(axis=1) < -0.5
        if not flips.any():
            yield fine(f"{each.name}: no jumps between q and -q")
            continue
        held = canonical(q)
        left = (held[now] * held[then]).sum(axis=1) < -0.5 if patient.arms else flips
        row = int(then[np.flatnonzero(flips)[0]])
        where = f"{int(flips.sum())} times, first at {patient.rows.place(row)}"
        if not left.any():
            yield remark(
                f"{each.name}: jumps between q and -q",
                where=where,
                why="X-WAM makes w positive, which removes them; other policies and the statistics see them",
                fix="nothing for X-WAM; else write each quaternion with w >= 0",
            )
        elif patient.arms:
            yield remark(
                f"{each.name}: jumps between q and -q, {int(left.sum())} of them even with w >= 0",
                where=where,
                why="the hand works half a turn away from its zero pose, where w changes its sign",
                fix="choose a tool frame with its zero in the middle of the work "
                "(lerobot_xwam.space.poses.FrameChange), if rotations are learnt badly",
            )
        else:
            yield problem(
                f"{each.name}: jumps between q and -q",
                where=where,
                why="as joints these numbers are learnt as they are, and half-way between q and -q is no "
                "rotation",
                fix="write each quaternion with the sign nearest to the one before",
            )


def quaternions(patient: Patient) -> list[Quaternion]:
    """All that there are: by place in the universal interface, by name elsewhere."""
    if not patient.has_vectors:
        return []
    if patient.arms:
        return [
            Quaternion(
                f"{arm.name}quaternion",
                arm.state[:, 3:7].astype(np.float64),
                arm.action[:, 3:6].astype(np.float64),
            )
            for arm in patient.arms
        ]
    names = patient.names(STATE_KEY)
    found = []
    for start in _starts(names):
        found.append(Quaternion(names[start], patient.state[:, start : start + 4].astype(np.float64), None))
    return found


def named_quaternions(names: list[str]) -> list[tuple[str, str]]:
    """(order of its numbers, name of the first) of each quaternion that names tell of."""
    return [("".join(_letter(name) for name in names[i : i + 4]), names[i]) for i in _starts(names)]


def _starts(names: list[str]) -> list[int]:
    letters = [_letter(name) for name in names]
    return [i for i in range(len(names) - 3) if sorted(letters[i : i + 4]) == ["w", "x", "y", "z"]]


def _letter(name: str) -> str:
    """ "left_qx" or "quat.x" -> "x"; "" if it is of no quaternion"""
    word = re.sub(r"\.pos$", "", name.lower())
    found = re.search(r"(?:^|[._ ])q_?([wxyz])$|quat\w*[._ ]([wxyz])$", word)
    return (found.group(1) or found.group(2)) if found else ""


def _agreements(patient: Patient, each: Quaternion) -> tuple[float, float, bool]:
    """-> (as w x y z, as x y z w, does it turn at all?)"""
    lengths = np.linalg.norm(each.values, axis=1, keepdims=True)
    unit = each.values / np.where(lengths > 1e-6, lengths, 1.0)
    assert each.turns is not None
    best = []
    now, then = patient.rows.pairs(1)
    for q in (unit, unit[:, XYZW_AS_WXYZ]):
        measured = np.zeros((len(q), 3))
        measured[now] = vector_from_quaternion(multiply(q[then], inverse(q[now])))
        values = []
        for lag in LAGS:
            first, later = patient.rows.pairs(lag + 1)
            values.append(agreement(each.turns[first], measured[later - 1]))
        best.append(max(values))
    angles = np.linalg.norm(vector_from_quaternion(multiply(unit[then], inverse(unit[now]))), axis=1)
    commanded = np.linalg.norm(each.turns, axis=1)
    turned = len(angles) > 20 and np.sqrt((angles**2).mean()) > 1e-3 and np.sqrt((commanded**2).mean()) > 1e-4
    return best[0], best[1], bool(turned)
