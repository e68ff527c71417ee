"""Writes synthetic datasets of every layout that the converter reads, of any length and size, for benches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from synthetic_robotwin import Synthetic

CAMERAS = ("front", "left", "right")
RATE = 15


def write_robotwin(root: Path, episodes: int, frames: int, size: tuple[int, int]) -> list[str]:
    for index in range(episodes):
        Synthetic(frames, *size).write_episode(root / "task" / "clean", index)
    return ["--layout=robotwin", "--rate=15"]


def write_authors(root: Path, episodes: int, frames: int, size: tuple[int, int]) -> list[str]:
    """Two arms; colour and 8-bit depth in H.264."""
    for index in range(episodes):
        observations = {}
        for camera in CAMERAS:
            paths = {f"{kind}_path": f"{kind}/{camera}/{index}.mp4" for kind in ("rgb", "depth")}
            for path in paths.values():
                write_film(root / path, pictures(frames, size), RATE)
            observations[camera] = {"type": "static", **paths, "start": 0, "end": frames, "fps": float(RATE)}
        moves = path_of_a_hand(frames)
        arms = {}
        for side in ("left", "right"):
            arms[f"{side}_ee_pos"] = moves[:, :3].tolist()
            arms[f"{side}_ee_rotvec"] = moves[:, 3:6].tolist()
            arms[f"{side}_gripper_pos"] = moves[:, 6:].tolist()
        content = {
            "num_frames": frames,
            "instructions": [f"move {index}"],
            "observations": observations,
            "proprios": arms,
            "actions": arms,
        }
        (root / f"{index:05d}.json").write_text(json.dumps(content), encoding="utf-8")
    return ["--layout=authors"]


def write_lerobot(root: Path, episodes: int, frames: int, size: tuple[int, int]) -> list[str]:
    """One arm as DROID has it, three colour cameras."""
    from lerobot_xwam.converting.mapping_files import load
    from lerobot_xwam.data.writing import create_dataset, quiet_encoders

    mapping = load("droid")
    columns = {camera["column"] for camera in mapping["cameras"].values()}
    video = {"dtype": "video", "shape": (*size, 3), "names": ["height", "width", "channels"]}
    hand = {"dtype": "float32", "shape": (7,), "names": None}
    with quiet_encoders():
        features = {**dict.fromkeys(sorted(columns), video), "hand": hand}
        dataset = create_dataset(root, "local/synthetic", RATE, features, "panda", frames)
        moves = path_of_a_hand(frames).astype(np.float32)
        for index in range(episodes):
            for move, picture in zip(moves, pictures(frames, size), strict=True):
                shown = dict.fromkeys(columns, picture)
                dataset.add_frame({**shown, "hand": move, "task": f"move {index}"})
            dataset.save_episode()
        dataset.finalize()
    turn = {"column": "hand", "take": [3, 4, 5], "as": "axis_angle"}
    said = {
        "arms": {
            "left": {
                "state": {"position": {"column": "hand", "take": [0, 1, 2]}, "rotation": turn},
                "gripper": {"column": "hand", "take": [6], "closed": 0, "open": 1},
            }
        },
        "cameras": mapping["cameras"],
    }
    file = root.with_name(f"{root.name}.yaml")
    file.write_text(json.dumps(said), encoding="utf-8")
    return ["--layout=lerobot", f"--mapping={file}", "--depth=none"]


def write_robomimic(root: Path, episodes: int, frames: int, size: tuple[int, int]) -> list[str]:
    """Lift with PandaOmron, the arm moved at random; the replay draws its pictures."""
    import h5py

    from lerobot_xwam.envs.robosuite.simulation import import_robosuite

    env = import_robosuite().make(
        "Lift",
        robots="PandaOmron",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        control_freq=20,
        ignore_done=True,
    )
    root.mkdir(parents=True, exist_ok=True)
    cameras = ("agentview", "frontview", "robot0_eye_in_hand")
    arguments = {"control_freq": 20, "camera_heights": size[0], "camera_widths": size[1]}
    random = np.random.default_rng(0)
    with h5py.File(root / "lift.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": arguments})
        for index in range(episodes):
            env.reset()
            actions = random.uniform(-1, 1, (frames, env.action_dim)) * (np.arange(env.action_dim) < 7)
            states = []
            for action in actions:
                states.append(env.sim.get_state().flatten())
                env.step(action)
            demo = data.create_group(f"demo_{index}")
            demo["states"], demo["actions"], demo["rewards"] = np.stack(states), actions, np.ones(frames)
            demo.attrs["model_file"] = env.sim.model.get_xml()
            demo.attrs["ep_meta"] = json.dumps({"lang": f"move {index}"})
    env.close()
    return ["--layout=robomimic", "--cameras", *cameras]


WRITERS: dict[str, Callable[[Path, int, int, tuple[int, int]], list[str]]] = {
    "authors": write_authors,
    "robomimic": write_robomimic,
    "robotwin": write_robotwin,
    "lerobot": write_lerobot,
}
"""layout -> write(root, episodes, frames, (height, width)), which tells the converter's options"""


def path_of_a_hand(frames: int) -> np.ndarray:
    """x y z, axis-angle, gripper.  # T 7"""
    t = np.arange(frames)[:, None] / RATE
    place = np.concatenate([0.4 + 0.1 * np.sin(t), 0.1 * np.cos(t), 0.3 + 0.05 * np.sin(2 * t)], axis=1)
    turn = np.concatenate([0.3 * np.sin(t), 0.2 * np.cos(t), 0.1 * t], axis=1)
    return np.concatenate([place, turn, 0.5 + 0.5 * np.sin(t)], axis=1)


def pictures(frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Something that moves over something rough, so that encoders have work.  # H W 3 each"""
    rough = np.random.default_rng(0).integers(0, 40, (*size, 3))
    ramp = np.linspace(20, 200, size[1])[None, :, None]
    for frame in range(frames):
        yield (np.roll(ramp, 2 * frame, axis=1) + rough).astype(np.uint8)


def write_film(path: Path, frames: Iterator[np.ndarray], fps: int) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        for picture in frames:
            stream.height, stream.width = picture.shape[:2]
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
