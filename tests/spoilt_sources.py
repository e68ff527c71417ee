"""Small sources of every layout, and the ways to spoil an episode of each that the converter has to tell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import authors_dataset as authors
import foreign_dataset as foreign
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import robomimic_dataset as robomimic
from synthetic_robotwin import Synthetic

from lerobot_xwam.converting.mapping_files import load

Content = dict[str, Any]
Spoil = Callable[[Path, int], None]  # the source, and which episode


@dataclass(frozen=True)
class Kind:
    """One layout of sources."""

    write: Callable[[Path, int], None]  # so many good episodes
    name: Callable[[int], str]
    options: tuple[str, ...]
    bad: Mapping[str, tuple[Spoil, str]]  # what is wrong -> how to do it, how it is told
    settle: Callable[[Path], list[str]] = lambda _: []  # further options that need the source's place


# --- The authors' layout ---


def said(change: Callable[[Content], Any]) -> Spoil:
    return lambda root, index: authors.edit(root, f"episodes/{index:04d}.json", change)


def video(stream: str, camera: str, frames: int, fps: int = authors.FPS) -> Spoil:
    """Written anew, with so many frames."""

    def spoil(root: Path, index: int) -> None:
        path = root / stream / camera / f"{index:07d}.mp4"
        authors.write_video(path, authors.drawn(frames, 1, stream == "depth"), fps)

    return spoil


def cut_video(root: Path, index: int) -> None:
    path = root / f"rgb/head_camera/{index:07d}.mp4"
    path.write_bytes(path.read_bytes()[:2000])


def nan_pose(episode: Content) -> None:
    episode["proprios"]["left_ee_pos"][3][0] = float("nan")


def mirror(episode: Content) -> None:
    turned = [[*m[:6], *(-x for x in m[6:])] for m in episode["actions"]["left_ee_rotm"]]
    episode["actions"]["left_ee_rotm"] = turned


def stretch(episode: Content) -> None:
    del episode["proprios"]["left_ee_rotm"]
    episode["proprios"]["left_ee_quat"] = [[1.0, 1.0, 0.0, 0.0]] * episode["num_frames"]


AUTHORS = Kind(
    write=lambda root, count: void(authors.write_dataset(root, count)),
    name=lambda index: f"episodes/{index:04d}.json",
    options=("--layout=authors",),
    bad={
        "video cut off": (cut_video, "cannot be read as video|truncated"),
        "video too short": (video("rgb", "head_camera", 20), "20 frames, 41 are needed"),
        "depth too short": (video("depth", "left_camera", 43), "43 frames, 44 are needed"),
        "no depth": (
            lambda root, index: (root / f"depth/left_camera/{index:07d}.mp4").unlink(),
            "no depth of left_camera",
        ),
        "no video": (
            lambda root, index: (root / f"rgb/left_camera/{index:07d}.mp4").unlink(),
            "is missing",
        ),
        "another rate": (video("rgb", "head_camera", 43, fps=30), "30 fps, the episode says 20"),
        "views of unequal length": (
            said(lambda episode: episode["observations"]["head_camera"].update(end=30)),
            "head_camera covers 30 frames",
        ),
        "NaN": (said(nan_pose), "NaN or infinite value at frame 3"),
        "left-handed": (said(mirror), "left-handed"),
        "not a unit quaternion": (said(stretch), "not of length 1"),
        "no instruction": (said(lambda episode: episode.update(instructions=["  "])), "has no instruction"),
        "another camera": (
            said(lambda episode: episode["observations"].pop("left_camera")),
            r"left_camera.* is nothing, in the dataset's first episode",
        ),
        "no JSON": (
            lambda root, index: void((root / f"episodes/{index:04d}.json").write_text('{"num_frames": 41, ')),
            "cannot be read as JSON",
        ),
    },
)


# --- robomimic, a file for each episode: depth, views and hands are computed, so they cannot be wrong ---


def demo_file(root: Path, index: int) -> Path:
    return root / f"demo{index}.hdf5"


def write_robomimic(root: Path, count: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    robomimic.record(demo_file(root, 0), demos=1)
    for index in range(1, count):
        shutil.copy(demo_file(root, 0), demo_file(root, index))


def within(change: Callable[[Any], Any]) -> Spoil:
    """`change` gets the open file."""

    def spoil(root: Path, index: int) -> None:
        with h5py.File(demo_file(root, index), "r+") as file:
            change(file)

    return spoil


def table(key: str, change: Callable[[np.ndarray], Any]) -> Callable[[Any], None]:
    """Of an HDF5 file; None takes it away."""

    def edit(file: Any) -> None:
        values = change(np.array(file[key]))
        del file[key]
        if values is not None:
            file[key] = values

    return edit


def nan_row(values: np.ndarray) -> np.ndarray:
    values[3, 1] = np.nan
    return values


def stretched_cube(values: np.ndarray) -> np.ndarray:
    """Lift's cube lies behind all joints of the robot: x y z and a quaternion end the positions."""
    positions = (values.shape[1] - 1 + 1) // 2  # a free joint has one velocity less than positions
    values[5, 1 + positions - 4 : 1 + positions] *= 1.5
    return values


def slower(file: Any) -> None:
    arguments = json.loads(file["data"].attrs["env_args"])
    arguments["env_kwargs"]["control_freq"] = 10
    file["data"].attrs["env_args"] = json.dumps(arguments)


def renamed_camera(file: Any) -> None:
    attributes = file["data/demo_0"].attrs
    attributes["model_file"] = attributes["model_file"].replace('name="agentview"', 'name="elsewhere"')


STATES = "data/demo_0/states"
ROBOMIMIC = Kind(
    write=write_robomimic,
    name=lambda index: f"demo{index}.hdf5/demo_0",
    options=("--layout=robomimic", "--cameras", *robomimic.CAMERAS),
    bad={
        "no camera to take depth with": (within(renamed_camera), "has no camera agentview"),
        "no model to replay": (
            within(lambda file: file["data/demo_0"].attrs.__delitem__("model_file")),
            "no attribute model_file",
        ),
        "fewer states than actions": (
            within(table(STATES, lambda v: v[:-1])),
            "11 rows, the episode has 12",
        ),
        "NaN": (within(table(STATES, nan_row)), "NaN or infinite value at frame 3"),
        "not a unit quaternion": (within(table(STATES, stretched_cube)), "cube.*not of length 1"),
        "another rate": (within(slower), "10 fps, this dataset has 20"),
        "no instruction": (
            within(lambda file: file["data/demo_0"].attrs.__delitem__("ep_meta")),
            "has no instruction",
        ),
        "file cut off": (
            lambda root, index: void(cut(demo_file(root, index), 5000)),
            "damaged or cut off",
        ),
    },
)


# --- RoboTwin: its files say nothing of their rate ---

FRAMES = 20
HEAD = "observation/head_camera/"


def pot_file(root: Path, index: int) -> Path:
    return root / "lift_pot" / "clean" / "data" / f"episode{index}.hdf5"


def write_robotwin(root: Path, count: int) -> None:
    for index in range(count):
        Synthetic(FRAMES).write_episode(root / "lift_pot" / "clean", index)


def changed(*edits: Callable[[Any], Any]) -> Spoil:
    def spoil(root: Path, index: int) -> None:
        with h5py.File(pot_file(root, index), "r+") as file:
            for edit in edits:
                edit(file)

    return spoil


def mirrored(values: np.ndarray) -> np.ndarray:
    values[:, 0] *= -1
    return values


ROBOTWIN = Kind(
    write=write_robotwin,
    name=lambda index: f"lift_pot/clean/data/episode{index}.hdf5",
    options=("--layout=robotwin", "--rate=15"),
    bad={
        "file cut off": (
            lambda root, index: void(cut(pot_file(root, index), 9000)),
            "damaged or cut off",
        ),
        "no depth": (changed(table(HEAD + "depth", lambda v: None)), "no depth of head_camera"),
        "views of unequal length": (
            changed(table(HEAD + "rgb", lambda v: v[:9])),
            "rgb: 9 frames, the episode has 20",
        ),
        "depth of unequal length": (changed(table(HEAD + "depth", lambda v: v[:9])), "depth: 9 frames"),
        "NaN": (changed(table("endpose/left_endpose", nan_row)), "NaN or infinite value at frame 3"),
        "not a unit quaternion": (changed(table("endpose/right_endpose", lambda v: v * 2)), "not of length"),
        "left-handed": (
            changed(table(HEAD + "extrinsic_cv", mirrored), table(HEAD + "cam2world_gl", lambda v: None)),
            "left-handed",
        ),
        "no instruction": (
            lambda root, index: (root / f"lift_pot/clean/instructions/episode{index}.json").unlink(),
            "has no instruction",
        ),
        "no picture": (
            changed(table(HEAD + "rgb", lambda v: np.array([b"nothing", *v[1:]]))),
            "no picture",
        ),
    },
)


# --- LeRobotDatasets, one for each episode, by a mapping with rotations as matrices ---

HAND = "observation.state.cartesian_position"


def dataset(root: Path, index: int) -> Path:
    return root / f"set{index}"


def write_foreign(root: Path, count: int) -> None:
    from lerobot_xwam.data.writing import create_dataset, quiet_encoders

    turn = {"dtype": "float32", "shape": (9,), "names": None}
    depth = {"dtype": "video", "shape": (foreign.HEIGHT, foreign.WIDTH, 1), "names": ["h", "w", "c"]}
    features = {**foreign.droid_features(), "turn": turn, "far": {**depth, "info": {"is_depth_map": True}}}
    with quiet_encoders():
        made = create_dataset(dataset(root, 0), "local/set", foreign.FPS, features, "panda", foreign.FRAMES)
        for frame in range(foreign.FRAMES):
            straight = np.eye(3, dtype=np.float32).ravel()
            metres = np.full((foreign.HEIGHT, foreign.WIDTH, 1), 0.5 + 0.01 * frame, np.float32)
            made.add_frame({**foreign.droid_frame(0, frame), "turn": straight, "far": metres})
        made.save_episode()
        made.finalize()
    for index in range(1, count):
        shutil.copytree(dataset(root, 0), dataset(root, index))


def mapping_of(root: Path) -> list[str]:
    content = load("droid")
    content["arms"]["left"]["state"]["rotation"] = {"column": "turn", "as": "matrix"}
    content["arms"]["left"].pop("target")
    content["cameras"] = {
        "head": {"column": "observation.images.exterior_1_left", "depth": "far"},
        "hand": {"column": "observation.images.wrist_left", "depth": "far"},
    }
    content["instructions"] = ["language_instruction"]
    content.pop("fps", None)
    file = root.with_name(f"{root.name}-mapping.yaml")
    file.write_text(json.dumps(content))  # JSON is YAML
    return [f"--mapping={file}"]


def rows(change: Callable[[Content], Any], part: str = "data") -> Spoil:
    """`change` gets lists by column of the frames' table, or of the episodes'."""

    def spoil(root: Path, index: int) -> None:
        (file,) = (dataset(root, index) / part).rglob("*.parquet")
        held = pq.read_table(file)
        columns = {name: held.column(name).to_pylist() for name in held.column_names}
        change(columns)
        pq.write_table(pa.table(columns), file)

    return spoil


def info(change: Callable[[Content], Any]) -> Spoil:
    def spoil(root: Path, index: int) -> None:
        file = dataset(root, index) / "meta" / "info.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoil


def film(camera: str) -> Callable[[Path, int], Path]:
    return lambda root, index: next((dataset(root, index) / "videos" / camera).rglob("*.mp4"))


def nan_hand(columns: Content) -> None:
    columns[HAND][7][2] = float("nan")


def every(name: str, value: Any) -> Callable[[Content], None]:
    return lambda columns: columns.update({name: [value] * len(columns[name])})


WRIST = "observation.images.wrist_left"
LEROBOT = Kind(
    write=write_foreign,
    name=lambda index: f"set{index}/episode_0",
    options=("--layout=lerobot", "--filter", "failed"),
    settle=mapping_of,
    bad={
        "video cut off": (
            lambda root, index: void(cut(film(WRIST)(root, index), 1500)),
            "damaged or cut off",
        ),
        "depth cut off": (
            lambda root, index: void(cut(film("far")(root, index), 900)),
            "damaged or cut off",
        ),
        "no depth": (info(lambda known: known["features"].pop("far")), "no pictures far"),
        "depth is a colour film": (
            info(lambda known: known["features"]["far"]["info"].update({"is_depth_map": False})),
            "does not know to be depth",
        ),
        "views of unequal length": (
            rows(
                lambda c: c.update({f"videos/{WRIST}/to_timestamp": [1.0]}),
                part="meta/episodes",
            ),
            "covers 15 frames, not 45",
        ),
        "NaN": (rows(nan_hand), "NaN or infinite value at frame 7"),
        "stretched rotation": (rows(every("turn", [2.0, 0, 0, 0, 2, 0, 0, 0, 2])), "not orthonormal"),
        "left-handed": (rows(every("turn", [1.0, 0, 0, 0, 1, 0, 0, 0, -1])), "left-handed"),
        "another rate": (info(lambda known: known.update(fps=30)), "fps, this dataset has 15|covers"),
        "no instruction": (rows(every("language_instruction", " ")), "has no instruction"),
        "table cut off": (
            lambda root, index: void(cut(next((dataset(root, index) / "data").rglob("*.parquet")), 900)),
            "cannot be read, cut off",
        ),
    },
)


KINDS = {"authors": AUTHORS, "robomimic": ROBOMIMIC, "robotwin": ROBOTWIN, "lerobot": LEROBOT}


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def void(_: Any) -> None: ...
