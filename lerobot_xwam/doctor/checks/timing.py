"""Time: frame rate against the policy's stride, timestamps, lengths of episodes, counting of frames."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..findings import Finding, fine, listed, problem, remark
from ..patient import Patient

SHORTEST, LONGEST = 0.1, 0.8  # seconds between imagined frames that show motion, and that one can follow
COMFORTABLE = 0.2
REPEATED = 0.2  # share of rows that are the one before once more


def frame_rate(patient: Patient) -> Iterator[Finding]:
    """Does the stride of the policy suit the frame rate?"""
    config, fps = patient.config, patient.folder.fps
    interval = config.actions_per_frame / fps
    said = (
        f"{fps:g} fps, actions_per_frame={config.actions_per_frame}: imagined frames are "
        f"{interval * 1000:.0f} "
        f"ms apart, a chunk of {config.chunk_size} actions lasts {config.chunk_size / fps:.2f} s"
    )
    better = max(1, round(COMFORTABLE * fps))
    options = (f"--policy.actions_per_frame={better}",) if better != config.actions_per_frame else ()
    if SHORTEST <= interval <= LONGEST:
        yield fine(said)
    elif interval < SHORTEST:
        yield remark(
            said,
            why="hardly anything moves from one imagined frame to the next, and the plan ends soon",
            fix=f"{' '.join(options) or 'record at a lower rate'}, or keep every "
            f"{max(2, round(fps / 20))}th frame "
            "of the dataset, which trained weights to start from need",
            options=options,
        )
    else:
        yield remark(
            said,
            why="so much happens from one imagined frame to the next that it can only be guessed",
            fix=f"{' '.join(options) or 'record at a higher rate'}, or record at a higher rate",
            options=options,
        )


def timestamps(patient: Patient) -> Iterator[Finding]:
    """Is the time of every frame its number over the frame rate? Videos are cut by it."""
    rows, fps = patient.rows, patient.folder.fps
    late = rows.timestamp - rows.frame / fps
    wrong = np.abs(late) > np.maximum(1e-4, 1e-6 * rows.timestamp)
    if not wrong.any():
        yield fine(f"timestamps run at {fps:g} fps")
        return
    now, then = rows.pairs(1)
    steps = rows.timestamp[then] - rows.timestamp[now]
    steady = float(np.median(steps)) if len(steps) else 0.0
    if steady > 0 and abs(steady * fps - 1) > 0.01:
        said, fix = (
            f"info.json says {fps:g} fps, the timestamps run at {1 / steady:.4g} fps",
            "correct the fps in a copy of meta/info.json, or record again with the right --dataset.fps",
        )
    elif len(steps) and (steps <= 0).any():
        said, fix = "timestamps that stand still or run backwards", "drop or record again the episodes named"
    else:
        said = f"timestamps up to {np.abs(late).max() * 1000:.3g} ms off frame number / fps"
        fix = "write them as frame_index / fps, as LeRobot does, or resample the recording to an even rate"
    first = int(np.flatnonzero(wrong)[0])
    yield problem(
        said,
        where=f"{int(wrong.sum())} frames, first at {rows.place(first)}",
        why="LeRobot looks video frames up by time and stops at 0.1 ms off; actions and pictures drift apart",
        fix=fix,
    )


def numbering(patient: Patient) -> Iterator[Finding]:
    """Do counters and the table of episodes agree? Windows are cut by them."""
    folder, rows = patient.folder, patient.rows
    faults: list[str] = []
    now, then = rows.pairs(1)
    if (bad := np.flatnonzero(rows.frame[then] != rows.frame[now] + 1)).size:
        faults.append(f"frame numbers jump at {rows.place(int(then[bad[0]]))}")
    if (bad := np.flatnonzero(rows.counters["index"][then] != rows.counters["index"][now] + 1)).size:
        faults.append(f"the running index jumps at {rows.place(int(then[bad[0]]))}")
    if rows.total == rows.count:
        counted = dict(zip(*np.unique(rows.episode, return_counts=True), strict=True))
        for number, length in zip(folder.episodes["episode_index"], folder.lengths, strict=True):
            if (got := int(counted.pop(number, 0))) != length:
                faults.append(f"episode {number} has {got} frames, its table says {length}")
        faults += [f"episode {number} is missing in the table" for number in counted]
        starts = np.cumsum([0, *folder.lengths[:-1]])
        if (bad := np.flatnonzero(folder.episodes["dataset_from_index"] != starts)).size:
            faults.append(
                f"episode {folder.episodes['episode_index'][bad[0]]} does not begin where the one before ends"
            )
    for name, value in (("total_frames", rows.total), ("total_episodes", len(folder.lengths))):
        if (said := folder.info.get(name)) is not None and said != value:
            faults.append(f"{name} is {said} in info.json, there are {value}")
    if faults:
        yield problem(
            "frames and episodes are miscounted: " + listed(faults, 3),
            why="training would take frames of other episodes, or stop at a frame that is not there",
            fix="drop the episodes named with lerobot-edit-dataset, or write the dataset again",
        )
    else:
        yield fine(f"{len(folder.lengths)} episodes, {rows.total} frames, counted right")


def episode_lengths(patient: Patient) -> Iterator[Finding]:
    """Do episodes hold a whole window?"""
    config, lengths = patient.config, patient.folder.lengths
    numbers = patient.folder.episodes["episode_index"]
    needed, longest, typical = config.chunk_size + 1, int(lengths.max()), float(np.median(lengths))
    shorter = max(
        (frames for frames in (5, 9, 13) if (frames - 1) * config.actions_per_frame < longest), default=None
    )
    options = (f"--policy.num_frames={shorter}",) if shorter else ()
    short = np.flatnonzero(lengths < needed)
    where = listed([f"episode {numbers[i]} ({lengths[i]} frames)" for i in short])
    stubs = np.flatnonzero(lengths < max(4, 0.2 * typical))
    if longest < needed:
        yield problem(
            f"the longest episode has {longest} frames, the horizon needs {needed}",
            where=where,
            why="not one training window is whole",
            fix=f"{' '.join(options) or 'record longer episodes'}, or record at a higher rate",
            options=options,
        )
    elif len(short) > 0.1 * len(lengths):
        yield remark(
            f"{len(short)} of {len(lengths)} episodes are shorter than the {needed} frames of a window",
            where=where,
            why="their windows are filled up with the last frame: the policy learns to stand still",
            fix=f"{' '.join(options)}, or drop these episodes with lerobot-edit-dataset",
            options=options,
        )
    elif len(stubs):
        yield remark(
            f"{len(stubs)} episodes have less than a fifth of the usual {typical:.0f} frames",
            where=listed([f"episode {numbers[i]} ({lengths[i]} frames)" for i in stubs]),
            why="they look like recordings that were broken off",
            fix="look at them with lerobot-dataset-viz and drop them with lerobot-edit-dataset",
        )
    else:
        yield fine(f"episodes of {lengths.min()} to {longest} frames, the horizon needs {needed}")


def repeated_states(patient: Patient) -> Iterator[Finding]:
    """Is the state measured as often as it is written?"""
    if not patient.has_vectors:
        return
    now, then = patient.rows.pairs(1)
    same = (patient.state[now] == patient.state[then]).all(axis=1)
    middle = (now[1:-1] == now[:-2] + 1) & (now[2:] == now[1:-1] + 1) if len(now) > 2 else np.zeros(0, bool)
    lonely = same[1:-1] & ~same[:-2] & ~same[2:] & middle if len(now) > 2 else middle
    moving = int((~same).sum())
    if lonely.sum() > REPEATED * max(1, moving + lonely.sum()) and lonely.sum() > 5:
        first = int(now[1:-1][np.flatnonzero(lonely)[0]])
        yield remark(
            f"{int(lonely.sum())} states are the one before once more, while the arm moves",
            where=f"first at {patient.rows.place(first)}",
            why="the state is measured less often than it is written: it lags behind pictures and actions",
            fix="read the robot at the dataset's frame rate, or keep every second frame",
        )
    elif same.mean() > 0.6 if len(same) else False:
        yield remark(
            f"the robot stands still in {same.mean():.0%} of all frames",
            why="the policy learns mostly to wait",
            fix="cut waiting at the beginning and end of episodes",
        )
    else:
        yield fine("the state changes from frame to frame")
