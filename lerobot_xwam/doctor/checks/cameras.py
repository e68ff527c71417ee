"""Pictures: can they be decoded, do they show something, is each camera another one, which view is which?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ..findings import Finding, fine, problem, remark
from ..footage import Shot
from ..patient import Patient

SAME = 1.0  # mean difference of 8-bit colours below which two pictures are the same
FLAT = 3.0  # spread of 8-bit colours below which a picture shows nothing
STRETCH = 1.25


def decodable(patient: Patient) -> Iterator[Finding]:
    """Are the frames there, in the size that info.json says?"""
    failed = set()
    for key, episode, frame, error in patient.footage.failures:
        if key in failed or not _file_there(patient, key, episode):
            continue  # a missing file is said by `video-frames`
        failed.add(key)
        yield problem(
            f"{key}: cannot be decoded ({error})",
            where=f"episode {episode}, frame {frame}",
            why="training stops there",
            fix="get the file again, or drop the episode with lerobot-edit-dataset",
        )
    for key in patient.folder.images:
        height, width = patient.folder.features[key]["shape"][:2]
        wrong = [s for s in patient.footage.shots[key] if s.pixels.shape[:2] != (height, width)]
        if wrong:
            failed.add(key)
            got = wrong[0].pixels.shape
            yield problem(
                f"{key}: pictures of {got[0]}x{got[1]}, info.json says {height}x{width} (height x width)",
                where=f"episode {wrong[0].episode}, frame {wrong[0].frame}",
                why="batches of different sizes cannot be put together, or width and height are interchanged",
                fix="correct the shape in a copy of meta/info.json, or write the pictures again",
            )
    if not failed and patient.folder.images:
        decoded = sum(map(len, patient.footage.shots.values()))
        yield fine(f"{decoded} frames of {len(patient.folder.images)} cameras decoded")


def showing(patient: Patient) -> Iterator[Finding]:
    """Black pictures, and pictures that stand still."""
    for key in patient.folder.cameras:
        shots = patient.footage.shots[key]
        if not shots:
            continue
        blank = [shot for shot in shots if shot.pixels.std() < FLAT]
        if blank:
            yield problem(
                f"{key}: shows nothing in {len(blank)} of {len(shots)} frames looked at (mean colour "
                f"{blank[0].pixels.mean():.0f} of 255)",
                where=f"episode {blank[0].episode}, frame {blank[0].frame}",
                why="the policy would act and imagine blindly",
                fix="look at the cable and the exposure; leave the camera out with --policy.input_features",
            )
        elif _stands_still(patient, shots):
            yield problem(
                f"{key}: the same picture in all {len(shots)} frames looked at, while the robot moves",
                where=f"episode {shots[0].episode}",
                why="a frozen camera teaches that actions change nothing",
                fix="record again, or leave the camera out with --policy.input_features",
            )
        else:
            yield fine(f"{key}: shows something that moves")


def different(patient: Patient) -> Iterator[Finding]:
    """The same camera under two names."""
    found = False
    for a, b in combinations(patient.folder.cameras, 2):
        pairs = list(zip(patient.footage.shots[a], patient.footage.shots[b], strict=False))
        if pairs and all(difference(x, y) < SAME for x, y in pairs):
            found = True
            yield problem(
                f"{a} and {b} show the same pictures",
                why="one camera is recorded twice and another one not at all",
                fix="look at the cameras' indices in the recording; leave one out with "
                "--policy.input_features",
            )
    if not found and len(patient.folder.cameras) > 1:
        yield fine("every camera shows something else")


def views(patient: Patient) -> Iterator[Finding]:
    """Order and orientation: what can be said, and what only a person can see."""
    names = [key.removeprefix("observation.images.") for key in patient.config.cameras]
    if not names:
        return
    yield fine(
        f"the network's views are, in this order: {', '.join(names)} (sorted by name)",
        why="which one is the left or the wrist camera, whether a picture is mirrored or upside down, and "
        "whether red and blue are interchanged, no number tells: look at the picture. Robot and evaluation "
        "need the same names",
    )
    for key in patient.config.cameras:
        if key not in patient.folder.features:
            continue
        height, width = patient.folder.features[key]["shape"][:2]
        stretch = (width / height) / (patient.config.width / patient.config.height)
        if not 1 / STRETCH < stretch < STRETCH:
            cell = patient.config.patch_pixels
            fitting = max(cell, round(patient.config.height * width / height / cell) * cell)
            yield remark(
                f"{key}: {height}x{width} is squeezed into "
                f"{patient.config.height}x{patient.config.width}, which "
                f"distorts it by {max(stretch, 1 / stretch):.2f}",
                why="round things become oval, and weights trained on other proportions know less",
                fix=f"--policy.width={fitting} keeps the proportions, at more tokens; or crop the camera",
                options=(f"--policy.width={fitting}",),
            )


def difference(a: Shot, b: Shot) -> float:
    """Mean difference of colours; infinite for other sizes."""
    if a.pixels.shape != b.pixels.shape:
        return float("inf")
    return float(np.abs(a.pixels.astype(np.int16) - b.pixels.astype(np.int16)).mean())


def _file_there(patient: Patient, key: str, episode: int) -> bool:
    folder = patient.folder
    if f"videos/{key}/chunk_index" not in folder.episodes:
        return True
    row = int(np.flatnonzero(folder.episodes["episode_index"] == episode)[0])
    return folder.video_file(key, row).is_file()


def _stands_still(patient: Patient, shots: list[Shot]) -> bool:
    """Nothing differs at all, within and between episodes, though the robot has been elsewhere."""
    if not patient.has_vectors or len(shots) < 3:
        return False
    reach = np.ptp(patient.state, axis=0)
    return bool(reach.any()) and all(difference(shots[0], shot) < SAME / 2 for shot in shots[1:])
