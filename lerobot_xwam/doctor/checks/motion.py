"""What commands do: how late the arm follows, and whether the gripper follows in the right direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import Finding, fine, problem, remark
from ..patient import ACTION_KEY, STATE_KEY, Patient

Array = NDArray[Any]

LAGS = range(6)
SEARCHED = range(-6, 16)  # frames from command to movement
LATE = 0.35  # seconds
CLEAR = 0.3  # of an agreement: less says nothing


def agreement(commanded: Array, measured: Array) -> float:
    """1: the same up to length, 0: nothing in common, -1: opposite.  # N D, N D"""
    length = np.sqrt((commanded**2).sum() * (measured**2).sum())
    return float((commanded * measured).sum() / length) if length > 1e-12 else 0.0


def lag(patient: Patient) -> Iterator[Finding]:
    """How many frames after its command does the arm move?"""
    if not patient.has_vectors or actions_are_states(patient):  # that is said by `action-meaning`
        return
    scores = _scores(patient)
    if not scores or max(scores.values()) < CLEAR:
        yield fine("how late the arm follows its commands cannot be told: they have too little in common")
        return
    best = max(scores, key=lambda each: scores[each])
    causal = max((score for each, score in scores.items() if each >= 0), default=0.0)
    seconds = best / patient.folder.fps
    if best < 0 and scores[best] > causal + 0.05:
        yield problem(
            f"the arm moves {-best} frames before it is commanded to (agreement {scores[best]:.2f})",
            why="the action of a frame is an old one: the policy learns to command what has been done "
            "already",
            fix=f"shift the actions by {-best} frames, or the states and pictures; look at the "
            "recording's loop",
        )
    elif seconds > LATE and best >= 3 and scores[best] > scores.get(1, 0.0) + 0.05:
        yield remark(
            f"the arm follows {best} frames ({seconds * 1000:.0f} ms) after its command",
            why="the policy must look so far ahead to see what its actions do, and reacts late",
            fix="is the state, or the camera, recorded with a delay? If the robot is that slow, nothing",
        )
    else:
        yield fine(f"the arm follows its command after {best} frames ({seconds * 1000:.0f} ms)")


def actions_are_states(patient: Patient) -> bool:
    """Of the same frame, number by number."""
    if not patient.paired:
        return False
    same = [np.abs(patient.state[:, s] - patient.action[:, a]) < 1e-6 for s, a, _ in patient.paired]
    return bool(
        np.mean(same) > 0.98 and any(np.ptp(patient.state[:, s]) > 1e-6 for s, _, _ in patient.paired)
    )


def gripper(patient: Patient) -> Iterator[Finding]:
    """Does it move when, and where, it is commanded to?"""
    if not patient.has_vectors:
        return
    ranges: dict[str, tuple[float, float]] = {}
    for name, state, action, steps in _grippers(patient):
        low, high = float(state.min()), float(state.max())
        ranges[name] = low, high
        if high - low < 1e-6 or np.ptp(action) < 1e-6:
            continue  # said by `constant`
        score = _gripper_agreement(patient, state, action, steps)
        if steps and np.median(np.abs(action)) > 0.9 * np.abs(action).max():
            yield remark(
                f"{name}: the command is always {np.abs(action).max():.3g} or its negative: open or "
                "close, no step",
                why="the universal interface has the difference of the gripper; poses computed from these "
                "actions, and weights of other robots, are off",
                fix="nothing if you stay on this robot; else write target minus measured opening",
            )
        elif score < -CLEAR:
            yield problem(
                f"{name}: opens when it is commanded to close (agreement {score:.2f})",
                why="state and action have opposite signs: trained weights and limits from the state "
                "would do "
                "the reverse",
                fix="turn the sign of one of them, so that more means more open in both",
            )
        elif steps and (low < -0.25 or high > 1.25):
            yield remark(
                f"{name}: goes from {low:.3g} to {high:.3g}",
                why="weights for end effectors know 0 (closed) to 1 (open) or metres",
                fix="divide so that 1 is open",
            )
        else:
            told = f", follows its command ({score:.2f})" if score > CLEAR else ", its sign cannot be told"
            yield fine(f"{name}: {low:.3g} to {high:.3g}{told}")
    widths = {name: high - low for name, (low, high) in ranges.items() if high > low}
    if len(widths) == 2 and patient.arms and max(widths.values()) > 5 * min(widths.values()):
        yield remark(
            "the two grippers have different units: "
            + ", ".join(f"{name} {ranges[name][0]:.3g} to {ranges[name][1]:.3g}" for name in widths),
            why="the universal interface has one scale for both",
            fix="bring both to 0 (closed) to 1 (open)",
        )


def _grippers(patient: Patient) -> Iterator[tuple[str, Array, Array, bool]]:
    """(name, state N, action N, is the action a step?)"""
    for arm in patient.arms:
        yield (
            f"{arm.name}gripper",
            arm.state[:, 7].astype(np.float64),
            arm.action[:, 6].astype(np.float64),
            True,
        )
    for state, action, name in patient.paired:
        if "grip" in name.lower():
            column = patient.rows.vector(STATE_KEY)[:, state], patient.rows.vector(ACTION_KEY)[:, action]
            yield name, column[0].astype(np.float64), column[1].astype(np.float64), False


def _gripper_agreement(patient: Patient, state: Array, action: Array, steps: bool) -> float:
    """Of commands with what the gripper does within some frames after; the clearest of several delays."""
    if not steps:
        now, then = patient.rows.pairs(1)
        return agreement(action[now] - action[now].mean(), state[then] - state[then].mean())
    scores = []
    for after in (1, 2, 4, 8):
        now, then = patient.rows.pairs(after)
        scores.append(agreement(action[now], state[then] - state[now]))
    return max(scores, key=abs)


def _scores(patient: Patient) -> dict[int, float]:
    """delay in frames -> agreement of commands with movements so much later.

    Commands are read as steps and as targets; the clearer of both counts.
    """
    ways = [_delays(patient, *moves) for moves in _commanded_and_measured(patient)]
    return max(ways, key=lambda scores: max(scores.values(), default=0.0), default={})


def _delays(patient: Patient, commanded: Array, measured: Array) -> dict[int, float]:
    result = {}
    for delay in SEARCHED:
        first, later = patient.rows.pairs(abs(delay) + 1)
        if len(first) < 20:
            continue
        # the last row of an episode has no movement after it, so pairs are one further apart than the delay
        rows = (first, later - 1) if delay >= 0 else (later - 1, first)
        result[delay] = agreement(commanded[rows[0]], measured[rows[1]])
    return result


def _commanded_and_measured(patient: Patient) -> Iterator[tuple[Array, Array]]:
    """What was asked for at each frame, and what moved until the next, in spreads.  # N D, N D"""
    now, then = patient.rows.pairs(1)
    if patient.arms:
        states = np.concatenate([arm.state[:, :3] for arm in patient.arms], axis=1)
        actions = np.concatenate([arm.action[:, :3] for arm in patient.arms], axis=1)
    elif patient.paired:
        states = np.stack([patient.state[:, s] for s, _, _ in patient.paired], axis=1)
        actions = np.stack([patient.action[:, a] for _, a, _ in patient.paired], axis=1)
    else:
        return
    measured = np.zeros(states.shape)
    measured[now] = states[then] - states[now]
    yield _in_spreads(actions.astype(np.float64)), _in_spreads(measured)
    changes = np.zeros(actions.shape)
    changes[then] = actions[then] - actions[now]
    yield _in_spreads(changes), _in_spreads(measured)


def _in_spreads(values: Array) -> Array:
    spread = values.std(axis=0)
    return values / np.where(spread > 1e-9, spread, np.inf)
