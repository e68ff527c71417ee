"""Options of the commands that look at imagined worlds: where the cameras are, and what is compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lerobot_xwam.world.cameras import Rig
    from lerobot_xwam.world.effectors import Effectors
    from lerobot_xwam.world.opening import Opened
    from lerobot_xwam.world.scores import Scene
    from lerobot_xwam.world.world_model import WorldModel


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calibration", type=Path, help="file that says where the cameras are")
    parser.add_argument("--wrist-cameras", nargs="+", default=[], help="uncalibrated cameras that move")
    parser.add_argument("--urdf", type=Path, help="robot description, for states that are joints")
    parser.add_argument("--urdf-frame", nargs="+", default=[], help="end-effector frame of each arm in it")
    parser.add_argument(
        "--urdf-radians", action="store_true", help="joints are in radians (LeRobot's are in degrees)"
    )
    parser.add_argument("--state-names", nargs="+", help="of the states' numbers (default: the dataset's)")
    parser.add_argument("--far", type=float, default=5.0, help="metres; farther is not compared (default 5)")
    parser.add_argument(
        "--keep-still",
        action="store_true",
        help="where a static camera's imagined pictures do not change, show what was seen, without the "
        "video codec's blur",
    )
    parser.add_argument("--voxel", type=float, default=0.0, help="metres; thin clouds (default 0: no)")


def require_metrics(*packages: str) -> None:
    """An extra that a plain installation lacks; said before anything takes time."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ValueError(
            f"comparing with the truth takes {', '.join(missing)}: pip install 'lerobot_policy_xwam[world]'"
        )


def env_options(given: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE ..., values as YAML reads them."""
    import yaml

    options = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"--env-option {option}: wanted NAME=VALUE")
        options[name] = yaml.safe_load(value)
    return options


def effectors_of(arguments: argparse.Namespace, opened: Opened, names: list[str]) -> Effectors | None:
    """How states tell where the end effectors are; None: they do not."""
    from lerobot_xwam.world.effectors import effectors_of_layout

    if arguments.urdf is not None:
        from lerobot_xwam.world.kinematics import effectors_of_urdf

        names, degrees = arguments.state_names or names, not arguments.urdf_radians
        return effectors_of_urdf(arguments.urdf, arguments.urdf_frame, names, degrees=degrees)
    return effectors_of_layout if opened.policy.config.interface == "ee" else None


def calibrated(arguments: argparse.Namespace) -> tuple[Rig, dict[str, str]] | None:
    """The rig of --calibration, if there is one."""
    from lerobot_xwam.world.calibration import read_calibration

    return None if arguments.calibration is None else (read_calibration(arguments.calibration), {})


def scene_of(
    arguments: argparse.Namespace, model: WorldModel, rig: Rig, effectors: Effectors | None
) -> Scene:
    from lerobot_xwam.world.cloud import Filters
    from lerobot_xwam.world.scores import Scene

    cameras = model.cameras
    told = {camera for camera in cameras if short(camera) in arguments.wrist_cameras}
    wrist = {*rig.wrist(cameras), *told}
    return Scene(
        grid=model.grid,
        rig=rig if any(camera in rig.cameras for camera in cameras) else None,
        static=tuple(camera for camera in cameras if camera not in wrist),
        effectors=effectors,
        filters=Filters(far=arguments.far, voxel=arguments.voxel),
    )


def camera_facts(cameras: Sequence[str], rig: Rig, refused: dict[str, str]) -> dict[str, Any]:
    """How each camera was found, and why one was not."""
    found = {short(name): rig.notes[name] for name in cameras if name in rig.cameras}
    lost = [name for name in cameras if name not in rig.cameras]
    missing = {short(name): refused.get(name, "no calibration") for name in lost}
    return {"cameras": found, "not fused": missing}


def short(camera: str) -> str:
    return camera.removeprefix("observation.images.")


def training_overlap(policy: str, dataset: str, chosen: list[int]) -> dict[str, str]:
    """Whether the policy was trained on these episodes, as far as its checkpoint tells."""
    import json

    path = Path(policy) / "train_config.json"
    if not path.is_file():
        return {"held out": "unknown: the checkpoint has no train_config.json"}
    trained = json.loads(path.read_text(encoding="utf-8"))["dataset"]
    roots = [Path(root).resolve() for root in (trained["root"], dataset) if root]
    same = dataset == trained["repo_id"] or (len(roots) == 2 and roots[0] == roots[1])
    if not same:
        return {"held out": f"another dataset than in training ({trained['repo_id']})"}
    seen = trained["episodes"]
    both = [episode for episode in chosen if seen is None or episode in seen]
    if both and not trained.get("eval_split"):
        return {"held out": f"NO: episodes {both} were trained on"}
    return {"held out": "yes" if not both else "unknown: training kept a share of its episodes apart"}
