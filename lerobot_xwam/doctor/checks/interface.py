"""Which interface a dataset has, and whether the policy takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.data.layout import EE_ACTION_DIMS, EE_STATE_DIMS

from ..findings import Finding, fine, listed, problem, remark
from ..patient import STATE_KEY, Patient
from .motion import actions_are_states, agreement
from .rotation import named_quaternions

OTHER_UNIT = 4.0  # commanded steps so many times longer or shorter than measured are not metres


def fits_policy(patient: Patient) -> Iterator[Finding]:
    """What training itself would refuse."""
    if patient.refusal:
        yield problem(patient.refusal, why="lerobot-train stops with this message", fix="as the message says")
    elif patient.config.pretrained_path and (missing := _missing_cameras(patient)):
        yield problem(
            f"the checkpoint sees {listed(missing)}, the dataset has {listed(patient.folder.cameras)}",
            why="lerobot-train stops at the first batch",
            fix='--rename_map=\'{"observation.images.HERE": "observation.images.THERE"}\', or take only the '
            "weights with --policy.base_weights",
        )
    else:
        yield fine(f"a policy of {patient.config.max_views} views takes this dataset")


def interface(patient: Patient) -> Iterator[Finding]:
    """End effector or joints, and does the content agree with the names?"""
    if not patient.has_vectors:
        return
    kind, reason = patient.interface
    widths = patient.state.shape[1], patient.action.shape[1]
    unnamed = kind == "native" and not named_quaternions(patient.names(STATE_KEY))
    if unnamed and widths in zip(EE_STATE_DIMS, EE_ACTION_DIMS, strict=True):
        norms = np.linalg.norm(patient.state.reshape(-1, 8)[:, 3:7], axis=1)
        if np.abs(norms - 1).max() < 0.02:
            yield remark(
                "taken for joints by its names, but holds unit quaternions where the universal interface "
                "has them",
                why="as joints, actions are shifted so that 0 is no longer 'no movement', and trained "
                "weights "
                "for end effectors do not fit",
                fix="--policy.interface=ee, or name the dimensions x y z qw qx qy qz gripper and dx dy "
                "dz drx "
                "dry drz dgripper",
                options=("--policy.interface=ee",),
            )
            return
    yield fine(f"interface {kind!r}: {reason}")


def action_meaning(patient: Patient) -> Iterator[Finding]:
    """Are actions what the interface says: steps in metres, or targets for joints?"""
    if not patient.has_vectors:
        return
    rows, found = patient.rows, False
    for arm in patient.arms:
        place, steps = arm.state[:, :3].astype(np.float64), arm.action[:, :3].astype(np.float64)
        if np.median(np.linalg.norm(place, axis=1)) > 10:
            found = True
            yield problem(
                f"{arm.name}positions of {np.median(np.linalg.norm(place, axis=1)):.0f}: they look like "
                "millimetres",
                why="the universal interface is in metres",
                fix="divide positions and position deltas by 1000",
            )
            continue
        now, then = rows.pairs(1)
        if _explains(steps[now], place[then]) > 0.8 and np.ptp(place, axis=0).max() > 1e-3:
            found = True
            yield problem(
                f"{arm.name}actions are poses to go to, not steps",
                why="the universal interface has differences: target minus measured pose",
                fix="convert them with lerobot_xwam.space.poses.delta(state, target), or train them as "
                "they are "
                "with --policy.interface=native",
                options=("--policy.interface=native",),
            )
            continue
        measured = place[then] - place[now]
        if agreement(steps[now], measured) > 0.6:
            unit = float((steps[now] * measured).sum() / (measured**2).sum())
            if not 1 / OTHER_UNIT < unit < OTHER_UNIT:
                found = True
                yield remark(
                    f"{arm.name}commanded steps are {unit:.3g} times the measured ones",
                    why="they are a controller's own units, not metres: right for the robot they were "
                    "recorded "
                    "on, but poses computed from them, and weights of other robots, are off",
                    fix="nothing if you stay on this robot; else scale actions to metres and radians",
                )
    if actions_are_states(patient):
        found = True
        yield problem(
            "actions are the states of the same frame",
            why="a policy that repeats what it measures is perfect by this data, and never moves",
            fix="record the commands; or take the state of the next frame for the action",
        )
    if not found:
        yield fine("actions mean what the interface says" if patient.arms else _native_meaning(patient))


def _native_meaning(patient: Patient) -> str:
    if not patient.paired:
        return "state and action have no names in common: whether actions are targets or steps is not known"
    now, then = patient.rows.pairs(1)
    states = np.stack([patient.state[:, s] for s, _, _ in patient.paired], axis=1)
    actions = np.stack([patient.action[:, a] for _, a, _ in patient.paired], axis=1)
    if _explains(actions[now], states[then]) > 0.5:
        return "actions are targets for the joints"
    steps = agreement(actions[now], states[then] - states[now]) > 0.3
    return "actions are steps of the joints" if steps else "whether actions are targets or steps is not clear"


def _explains(guess: NDArray[Any], truth: NDArray[Any]) -> float:
    """Share of the truth's variance that the guess explains.  # N D, N D"""
    spread = ((truth - truth.mean(axis=0)) ** 2).sum()
    return 1 - float(((truth - guess) ** 2).sum() / spread) if spread > 0 else 0.0


def _missing_cameras(patient: Patient) -> list[str]:
    return [key for key in patient.config.cameras if key not in patient.folder.features]
