"""All checks by name, in the order of the report. A new one is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..findings import Finding
from ..patient import Patient
from . import cameras, depth, interface, language, motion, numbers, rotation, timing, videos

Check = Callable[[Patient], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "fits-policy": interface.fits_policy,
    "interface": interface.interface,
    "action-meaning": interface.action_meaning,
    "frame-rate": timing.frame_rate,
    "timestamps": timing.timestamps,
    "numbering": timing.numbering,
    "episode-lengths": timing.episode_lengths,
    "repeated-states": timing.repeated_states,
    "finite": numbers.finite,
    "constant": numbers.constant,
    "outliers": numbers.outliers,
    "jumps": numbers.jumps,
    "statistics": numbers.statistics,
    "averaged-quantiles": numbers.averaged_quantiles,
    "quaternion-length": rotation.quaternion_length,
    "quaternion-order": rotation.quaternion_order,
    "quaternion-sign": rotation.quaternion_sign,
    "lag": motion.lag,
    "gripper": motion.gripper,
    "decodable": cameras.decodable,
    "showing": cameras.showing,
    "different": cameras.different,
    "views": cameras.views,
    "decoders": videos.decoders,
    "video-frames": videos.video_frames,
    "depth-flag": depth.depth_flag,
    "depth-unit": depth.depth_unit,
    "depth-size": depth.depth_size,
    "depth-alignment": depth.depth_alignment,
    "instructions": language.instructions,
}
