"""An exhibition as a Rerun recording: cameras, clouds, arms and frames on one timeline."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lerobot_xwam.world.cloud import Cloud
from lerobot_xwam.world.footage import Footage

from .exhibition import Exhibition, file_names, short

TIMELINE = "imagined"
PLANE = 0.08  # metres from a camera to its picture
COLOURS = (
    [60, 170, 90],
    [230, 120, 40],
    [80, 130, 230],
    [190, 90, 200],
)  # of ways; first the truth's


def require_rerun() -> None:
    if find_spec("rerun") is None:
        raise ValueError("--rerun: rerun-sdk is not installed; pip install 'lerobot[viz]' brings it")


def write_recording(
    path: Path,
    exhibition: Exhibition,
    clouds: dict[str, list[Cloud]],
    tick: Callable[[], object] = lambda: None,
) -> None:
    """`rerun imagined.rrd` shows it."""
    import rerun as rr

    names = [each.name for each in exhibition.footages]
    roots = dict(zip(names, file_names(names), strict=True))
    recording = rr.RecordingStream("lerobot-xwam imagine")
    recording.save(path, default_blueprint=_blueprint(exhibition, roots))
    try:
        recording.log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for footage, colour in zip(exhibition.footages, _colours(exhibition), strict=True):
            root = roots[footage.name]
            _log_still(recording, exhibition, footage, root, colour)
            for frame in range(footage.frames):
                recording.set_time(TIMELINE, duration=float(footage.times[frame]))
                _log_frame(recording, exhibition, footage, frame, root)
                if footage.name in clouds:
                    cloud = clouds[footage.name][frame]
                    recording.log(f"{root}/cloud", rr.Points3D(cloud.points, colors=cloud.colours))
                tick()
        recording.flush()
    finally:
        recording.disconnect()


def _colours(exhibition: Exhibition) -> list[list[int]]:
    first = 0 if exhibition.truth is not None else 1
    return [COLOURS[(first + i) % len(COLOURS)] for i in range(len(exhibition.footages))]


def _log_still(
    recording: Any, exhibition: Exhibition, footage: Footage, root: str, colour: list[int]
) -> None:
    """What does not change: lenses, and the way of each arm."""
    import rerun as rr

    for camera in footage.cameras:
        if (k := exhibition.intrinsics(camera)) is not None:
            height, width = footage.size
            lens = rr.Pinhole(
                image_from_camera=k,
                width=width,
                height=height,
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=PLANE,
            )
            recording.log(f"{root}/cameras/{short(camera)}", lens, static=True)
    if (effectors := exhibition.effectors(footage)) is not None:
        ways = [effectors[:, arm, :3, 3] for arm in range(effectors.shape[1])]
        recording.log(f"{root}/way", rr.LineStrips3D(ways, colors=[colour] * len(ways)), static=True)


def _log_frame(recording: Any, exhibition: Exhibition, footage: Footage, frame: int, root: str) -> None:
    import rerun as rr

    for view, camera in enumerate(footage.cameras):
        entity = f"{root}/cameras/{short(camera)}"
        if (poses := exhibition.camera_poses(footage, camera)) is not None:
            pose = poses[frame]
            recording.log(entity, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        recording.log(f"{entity}/rgb", rr.Image(footage.rgb[view, frame]).compress(jpeg_quality=92))
        if footage.metres is not None:
            metres = np.nan_to_num(footage.metres[view, frame], nan=0.0, posinf=0.0, neginf=0.0)
            recording.log(f"{entity}/depth", rr.DepthImage(metres, meter=1.0))
    if (effectors := exhibition.effectors(footage)) is not None:
        for arm, pose in enumerate(effectors[frame]):
            place = rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])
            recording.log(f"{root}/arms/{arm}", place, rr.TransformAxes3D(0.06))
    for number, value in enumerate(footage.states[frame]):
        recording.log(f"{root}/state/{number}", rr.Scalars(float(value)))


def _blueprint(exhibition: Exhibition, roots: dict[str, str]) -> Any:
    """A room per footage, with its pictures below. Depth stays out of the room: the clouds show it."""
    import rerun.blueprint as rrb

    columns = []
    for name, root in roots.items():
        contents = [f"/{root}/**", *(f"- /{root}/cameras/{short(c)}/depth" for c in exhibition.cameras)]
        cameras = [(camera, f"/{root}/cameras/{camera}") for camera in map(short, exhibition.cameras)]
        pictures = [
            rrb.Spatial2DView(origin=f"{entity}/{kind}", name=f"{camera} {kind}")
            for kind in ("rgb", "depth")
            for camera, entity in cameras
        ]
        room = rrb.Spatial3DView(origin="/", contents=contents, name=name)
        grid = rrb.Grid(*pictures, grid_columns=len(exhibition.cameras))
        columns.append(rrb.Vertical(room, grid, row_shares=[3, 2]))
    return rrb.Blueprint(rrb.Horizontal(*columns), collapse_panels=True)
