"""The small file that says where a robot's cameras are. JSON or YAML:

    unit: m                       # or mm, of all positions (default m)
    pixel_origin: corner          # first pixel's centre is (0.5, 0.5); "centre": it is (0, 0), as in OpenCV
    cameras:
      front:                      # observation.images.front
        size: [480, 640]          # height and width of the recorded picture
        intrinsics: [[600, 0, 320], [0, 600, 240], [0, 0, 1]]
        pose: [[...], [...], [...], [0, 0, 0, 1]]        # room <- camera, of a camera that stands still
      wrist:
        size: [480, 640]
        intrinsics: ...
        hand_eye: [[...], [...], [...], [0, 0, 0, 1]]    # end effector <- camera
        arm: 0                    # the arm it sits on; 0 is the left or only one (default 0)

Camera axes are OpenCV's: x right, y down, z forward. The room is the frame of the robot's end-effector poses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lerobot_xwam.files import appearing

from .cameras import Camera, Rig
from .rigid import checked_intrinsics

PREFIX = "observation.images."
EXAMPLE = (__doc__ or "").partition("YAML:\n\n")[2]
UNITS = {"m": 1.0, "mm": 0.001}
ORIGINS = {"corner": 0.0, "centre": 0.5}
CAMERA_KEYS = {"size", "intrinsics", "pose", "hand_eye", "arm"}


def read_calibration(path: Path) -> Rig:
    """The rig of a calibration file, or the reason why it cannot be one."""
    import yaml

    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML too
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: neither JSON nor YAML: {error}") from error
    if not isinstance(held, dict) or not isinstance(held.get("cameras"), dict) or not held["cameras"]:
        raise ValueError(f"{path}: wanted 'cameras:' with an entry for each, as in\n{EXAMPLE}")
    _known(held, {"unit", "pixel_origin", "cameras"}, str(path))
    unit = _choice(held, "unit", UNITS, "m", path)
    origin = _choice(held, "pixel_origin", ORIGINS, "corner", path)
    cameras = {}
    for name, entry in held["cameras"].items():
        try:
            cameras[_full(str(name))] = _camera(entry, unit, origin)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: camera {name!r}: {error}") from error
    return Rig(cameras, dict.fromkeys(cameras, f"from {path.name}"))


def write_calibration(path: Path, rig: Rig) -> None:
    """The file that `read_calibration` reads, in metres."""
    cameras: dict[str, Any] = {}
    for name, camera in rig.cameras.items():
        entry = {"size": list(camera.size), "intrinsics": camera.intrinsics.tolist()}
        placed = {"pose": camera.pose.tolist()}
        if camera.arm is not None:
            placed = {"hand_eye": camera.pose.tolist(), "arm": camera.arm}
        cameras[name.removeprefix(PREFIX)] = entry | placed
    with appearing(path) as temporary:
        temporary.write_text(
            json.dumps({"unit": "m", "pixel_origin": "corner", "cameras": cameras}, indent=1)
        )


def _camera(entry: Any, scale: float, origin: float) -> Camera:
    import numpy as np

    if not isinstance(entry, dict):
        raise ValueError(f"{entry!r}, wanted size, intrinsics and pose or hand_eye")
    _known(entry, CAMERA_KEYS, "its entry")
    if ("pose" in entry) == ("hand_eye" in entry):
        raise ValueError("wanted either 'pose' (it stands still) or 'hand_eye' (it sits on an arm), not both")
    if missing := {"size", "intrinsics"} - entry.keys():
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    size, arm = entry["size"], entry.get("arm", 0)
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size):
        raise ValueError(f"size {size!r}, wanted [height, width] in pixels")
    if not isinstance(arm, int) or isinstance(arm, bool) or arm < 0:
        raise ValueError(f"arm {arm!r}, wanted 0 or 1")
    if "pose" in entry and "arm" in entry:
        raise ValueError("'arm' goes with 'hand_eye'; a camera with 'pose' stands still")
    k = checked_intrinsics(entry["intrinsics"], (size[0], size[1]), "intrinsics").copy()
    k[:2, 2] += origin
    pose = np.array(entry.get("pose", entry.get("hand_eye")), dtype=np.float64)
    if pose.shape == (4, 4):
        pose[:3, 3] *= scale
    return Camera(k, (size[0], size[1]), pose, arm if "hand_eye" in entry else None)


def _choice(held: dict[str, Any], key: str, values: dict[str, float], default: str, path: Path) -> float:
    if (chosen := held.get(key, default)) not in values:
        raise ValueError(f"{path}: {key} {chosen!r}, wanted one of {', '.join(values)}")
    return values[chosen]


def _known(held: dict[str, Any], keys: set[str], where: str) -> None:
    if strange := sorted(set(map(str, held)) - keys):
        raise ValueError(f"{where}: {', '.join(strange)} unknown; known are {', '.join(sorted(keys))}")


def _full(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name
