"""Depth: recognised as such, in the right unit, of the right size, and lying on its picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from lerobot_xwam.space.rotations import Array

from ..findings import Finding, fine, problem, remark
from ..patient import Patient

PLAUSIBLE = (0.02, 100.0)  # metres; codecs/depth.py refuses medians outside
SIZE = (96, 128)  # of pictures whose edges are compared
FLIPS = {
    "mirrored": (slice(None), slice(None, None, -1)),
    "upside down": (slice(None, None, -1), slice(None)),
}
FLIPS |= {"turned by half": (slice(None, None, -1), slice(None, None, -1))}


def depth_flag(patient: Patient) -> Iterator[Finding]:
    """Depth that LeRobot takes for a camera."""
    hidden = [key for key in patient.folder.cameras if "depth" in key.rpartition(".")[2].lower()]
    for key in hidden:
        yield problem(
            f"{key}: named depth, but not marked as a depth map; it would be one more colour camera",
            why="the policy would imagine it as a colour video, and train without depth",
            fix='put "is_depth_map": true into its "info" in a copy of meta/info.json, if it holds '
            "metric depth "
            "of one channel; coloured depth cannot be turned back: leave it out with --policy.input_features",
        )
    if patient.folder.depths:
        without = sorted(
            set(patient.folder.cameras) - {key.removesuffix("_depth") for key in patient.folder.depths}
        )
        more = f"; none of {', '.join(without)}, whose depth is not learnt" if without else ""
        yield fine(f"depth of {len(patient.folder.depths)} cameras{more}")
    elif not hidden:
        yield fine("no depth: trained with the depth loss off")


def depth_unit(patient: Patient) -> Iterator[Finding]:
    """Metres, millimetres, or neither?"""
    for key in patient.folder.depths:
        shots = patient.footage.shots[key]
        if not shots:
            continue
        metres = np.stack([shot.pixels for shot in shots])
        seen = metres[np.isfinite(metres) & (metres > 0)]
        place = f"episode {shots[0].episode}, frame {shots[0].frame}"
        if not seen.size:
            yield problem(
                f"{key}: no pixel has a reading in the {len(shots)} frames looked at",
                where=place,
                why="the depth loss has nothing to learn from",
                fix="look at the sensor; train with --policy.depth=none",
            )
            continue
        median = float(np.median(seen))
        low, high = _limits(patient, key)
        share_low, share_high = float((seen <= low * 1.01).mean()), float((seen >= high * 0.99).mean())
        if not PLAUSIBLE[0] < median < PLAUSIBLE[1]:
            times, instead = ("1000 times too small", "m") if median < 1 else ("1000 times too large", "mm")
            yield problem(
                f"{key}: median depth {median:.3g} m: {times}?",
                where=place,
                why="the policy works in metres and refuses such depth",
                fix=f'its unit is {instead}, not what "depth_unit" in meta/info.json says (or, without that, '
                f"--policy.depth_unit={patient.config.depth_unit})",
                options=() if _has_unit(patient, key) else (f"--policy.depth_unit={instead}",),
            )
        elif max(share_low, share_high) > 0.5:
            unit = "metres were recorded as millimetres" if share_low > 0.5 else "millimetres as metres"
            end = f"{low:g}" if share_low > 0.5 else f"{high:g}"
            yield problem(
                f"{key}: {max(share_low, share_high):.0%} of the pixels lie at the end of what the video "
                "can hold "
                f"({end} m)",
                where=place,
                why=f"the range was cut off when it was encoded; perhaps {unit}",
                fix="hand uint16 millimetres or float metres to LeRobot, or set depth_min and depth_max "
                "of the "
                "encoder; the cut-off depth cannot be brought back",
            )
        else:
            yield from _range(patient, key, seen, metres.size)


def depth_size(patient: Patient) -> Iterator[Finding]:
    """Does depth cover the same field of view as its camera?"""
    for key, camera in _pairs(patient):
        (height, width), (h, w) = (patient.folder.features[each]["shape"][:2] for each in (camera, key))
        if abs((w / h) / (width / height) - 1) > 0.02:
            yield problem(
                f"{key}: {h}x{w}, its camera {height}x{width}: other proportions",
                why="both are stretched to the network's size, so depth lies beside what it belongs to",
                fix="align depth to colour when recording (RealSense: rs.align), or crop both alike",
            )
        elif (h, w) != (height, width):
            yield remark(
                f"{key}: {h}x{w}, its camera {height}x{width}",
                why="both are resized to the network's size, which is right only if depth was aligned to "
                "colour",
                fix="nothing, if it was aligned",
            )
        else:
            yield fine(f"{key}: as large as its camera, {h}x{w}")


def depth_alignment(patient: Patient) -> Iterator[Finding]:
    """Do edges in depth lie on edges in colour, or would they if one were flipped?"""
    for key, camera in _pairs(patient):
        shots = list(zip(patient.footage.shots[camera], patient.footage.shots[key], strict=False))
        scores = {name: [] for name in ("as it is", *FLIPS)}  # type: dict[str, list[float]]
        for colour, depth in shots:
            picture, edges = _edges(colour.pixels.mean(axis=2)), _edges(_inverse(depth.pixels))
            scores["as it is"].append(_correlation(picture, edges))
            for name, flip in FLIPS.items():
                scores[name].append(_correlation(picture, edges[flip]))
        if not shots:
            continue
        means = {name: float(np.mean(values)) for name, values in scores.items()}
        best = max(means, key=lambda name: means[name])
        if best != "as it is" and means[best] > 0.2 and means[best] > means["as it is"] + 0.1:
            yield problem(
                f"{key}: lies on its colour picture only when {best} (edges agree by {means[best]:.2f}, "
                "as it is by "
                f"{means['as it is']:.2f})",
                why="the network would learn depth of something else",
                fix="flip depth or colour when recording; look at the picture to see which is wrong",
            )
        elif means["as it is"] > 0.15:
            yield fine(f"{key}: its edges lie on those of the colour picture ({means['as it is']:.2f})")
        else:
            yield fine(f"{key}: whether it lies on its colour picture cannot be told from edges")


def _range(patient: Patient, key: str, seen: Array, pixels: int) -> Iterator[Finding]:
    config, holes = patient.config, 1 - seen.size / pixels
    beyond, before = float((seen > config.depth_far).mean()), float((seen < config.depth_near).mean())
    p99 = float(np.quantile(seen, 0.99))
    if beyond > 0.3 or before > 0.3:
        name, value = (
            ("far", f"{p99 * 1.05:.2g}") if beyond > 0.3 else ("near", f"{np.quantile(seen, 0.01):.2g}")
        )
        yield remark(
            f"{key}: {max(beyond, before):.0%} of its depth lies outside of {config.depth_near:g} to "
            f"{config.depth_far:g} m",
            why="the depth code ends there, all beyond looks the same",
            fix=f"--policy.depth_{name}={value} when training from the start; a checkpoint keeps its own "
            "range",
            options=(f"--policy.depth_{name}={value}",),
        )
    elif holes > 0.6:
        yield remark(
            f"{key}: {holes:.0%} of its pixels have no reading",
            why="only pixels with a reading are learnt from",
            fix="look at distance, light and reflections of the sensor",
        )
    else:
        yield fine(f"{key}: {np.quantile(seen, 0.01):.2f} to {p99:.2f} m, {holes:.0%} without a reading")


def _has_unit(patient: Patient, key: str) -> bool:
    feature = patient.folder.features[key]
    return feature["dtype"] == "video" or bool((feature.get("info") or {}).get("depth_unit"))


def _limits(patient: Patient, key: str) -> tuple[float, float]:
    """What can be stored at all, in metres."""
    info = patient.folder.features[key].get("info") or {}
    if patient.folder.features[key]["dtype"] != "video":
        return 0.0, float("inf")
    return float(info.get("video.depth_min", 0.01)), float(info.get("video.depth_max", 10.0))


def _pairs(patient: Patient) -> Iterator[tuple[str, str]]:
    """(depth, its camera)"""
    for key in patient.folder.depths:
        if (camera := key.removesuffix("_depth")) in patient.folder.cameras:
            yield key, camera


def _inverse(metres: Array) -> Array:
    """Near edges count more, pixels without a reading are far."""
    good = np.isfinite(metres) & (metres > 0)
    return np.where(good, 1 / np.where(good, metres, 1.0), 0.0).clip(0, 20)


def _edges(picture: Array) -> Array:
    """Strength of edges in a small copy, the strongest few held back.  # H W -> h w"""
    small = Image.fromarray(picture.astype(np.float32)).resize(SIZE[::-1], Image.Resampling.BILINEAR)
    down, right = np.gradient(np.asarray(small, dtype=np.float64))
    strength = np.hypot(down, right)
    return np.sqrt(np.minimum(strength, np.quantile(strength, 0.98)))


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / length if length > 0 else 0.0
