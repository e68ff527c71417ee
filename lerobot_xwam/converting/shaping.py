"""A recording -> the episode that is written: checked, filtered, resampled, resized."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..space.poses import ROTATION, STATE, arms, side_by_side
from ..space.readings import BadEpisodeError
from ..space.resampling import Resampled, resampled, without
from ..space.rotations import Array, continuous
from .episode import Camera, SourceEpisode
from .filters import refuse_unwanted, unknown_to_filters, wanted_frames
from .recording import Pictures, RecordedCamera, Recording
from .settings import WHOLE, Settings

SHORTEST = 2  # frames


def shape(recording: Recording, settings: Settings) -> SourceEpisode:
    """What settings make of it. Raises BadEpisodeError if it cannot be used or is not wanted."""
    refuse_unwanted(recording, settings)
    name = recording.name
    if not recording.instructions and settings.instructions == "required":
        raise BadEpisodeError(f"{name}: has no instruction; --instructions optional keeps such episodes")
    if settings.fps and abs(recording.fps - settings.fps) > WHOLE * settings.fps:
        raise BadEpisodeError(f"{name}: {recording.fps:g} fps, this dataset has {settings.fps:g}")
    cameras = _cameras(recording, settings)
    size = _size(recording, list(cameras), settings)
    kept = wanted_frames(recording, settings)
    path = _path(recording, settings, kept)
    if len(path) < SHORTEST:
        raise BadEpisodeError(f"{name}: {len(recording)} frames are no episode, {len(path)} would be left")
    frames = kept[path.nearest]
    return SourceEpisode(
        name=name,
        fps=settings.rate_of(recording.fps),
        source_fps=recording.fps,
        states=smooth(path.states),
        actions=path.actions,
        instructions=recording.instructions or ("",),
        cameras={
            camera: _resized_camera(recorded, frames, size, with_depth)
            for camera, (recorded, with_depth) in cameras.items()
        },
        size=size,
        pictures=lambda: _pictures(recording, frames, cameras, size),
        notes={
            **recording.notes,
            "source_fps": recording.fps,
            "source_sizes": sorted({f"{h}x{w}" for h, w in (c.size for c, _ in cameras.values())}),
            "source_frames": len(recording),
            "stationary_frames": len(recording) - len(kept),
            "unknown": unknown_to_filters(recording, settings),
        },
    )


def smooth(states: Array) -> Array:
    """Quaternions whose signs do not flip from frame to frame.  # T 8|16"""
    per_arm = arms(states, STATE).copy()
    for arm in range(per_arm.shape[1]):
        per_arm[:, arm, ROTATION] = continuous(per_arm[:, arm, ROTATION])
    return side_by_side(per_arm)


def _cameras(recording: Recording, settings: Settings) -> dict[str, tuple[RecordedCamera, bool]]:
    """Those that are wanted, sorted by name, and whether their depth is."""
    there = recording.cameras
    names = settings.cameras or recording.usual_cameras or tuple(there)
    if absent := sorted(set(names) - set(there)):
        missing = f"{recording.name}: has no camera {', '.join(absent)}"
        raise BadEpisodeError(f"{missing}; choose with --cameras out of {sorted(there)}")
    wanted = {name: there[name] for name in sorted(names)}
    if not wanted:
        raise BadEpisodeError(f"{recording.name}: has no camera")
    flat = [name for name, camera in wanted.items() if not camera.depth]
    if flat and settings.depth == "required":
        raise BadEpisodeError(f"{recording.name}: no depth of {', '.join(flat)}; see --depth")
    return {name: (camera, camera.depth and settings.depth != "none") for name, camera in wanted.items()}


def _size(recording: Recording, cameras: Sequence[str], settings: Settings) -> tuple[int, int]:
    if settings.height:
        return settings.height, settings.width
    sizes = sorted({recording.cameras[name].size for name in cameras})
    if len(sizes) > 1:
        raise BadEpisodeError(f"{recording.name}: pictures of different sizes {sizes}; give --size")
    return sizes[0]


def _path(recording: Recording, settings: Settings, kept: NDArray[np.int64]) -> Resampled:
    """States and actions at the rate of the result; frames are counted among those kept."""
    rate = settings.rate_of(recording.fps)
    targets, raw = recording.targets, recording.raw_actions
    if settings.actions == "path":
        targets = raw = None
    if rate > recording.fps * (1 + WHOLE):
        raise BadEpisodeError(f"{recording.name}: {recording.fps:g} fps, no source of {rate:g}")
    if raw is not None:
        if abs(rate - recording.fps) > WHOLE * rate:
            raise ValueError(
                f"{recording.name}: a controller's raw actions last one step of {recording.fps:g} Hz each "
                f"and cannot be had at {rate:g}; --actions path takes the measured poses instead"
            )
        return Resampled(recording.states[kept], raw[kept], np.arange(len(kept)))
    states, targets = without(recording.states, targets, kept)
    return resampled(states, targets, recording.fps, min(rate, recording.fps))


def _resized_camera(
    recorded: RecordedCamera, frames: NDArray[np.int64], size: tuple[int, int], depth: bool
) -> Camera:
    intrinsics, pose = recorded.intrinsics, recorded.pose
    if intrinsics is not None:
        height, width = recorded.size
        intrinsics = np.diag([size[1] / width, size[0] / height, 1.0]) @ intrinsics[frames]
    return Camera(depth, intrinsics, None if pose is None else pose[frames])


def _pictures(
    recording: Recording,
    frames: NDArray[np.int64],
    cameras: dict[str, tuple[RecordedCamera, bool]],
    size: tuple[int, int],
) -> Iterator[Pictures]:
    streams = [*cameras, *(f"{name}_depth" for name, (_, deep) in cameras.items() if deep)]
    for pictures in recording.look(frames.tolist(), streams):
        yield {name: _resized(pictures[name], size) for name in streams}


def _resized(picture: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Colour between its pixels, depth the nearest: between near and far there is nothing."""
    if picture.shape[:2] == size:
        return picture
    import torch

    from ..data.views import resize

    depth = picture.shape[2] == 1
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    resized = resize(tensor, size, depth=depth)[0].permute(1, 2, 0).numpy()
    return resized if depth else resized.round().astype(np.uint8)
