"""Episodes of the tabletop world as a LeRobotDataset on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.data.writing import create_dataset, quiet_encoders
from lerobot_xwam.envs.tabletop.env import Observation, TabletopEnv
from lerobot_xwam.envs.tabletop.expert import Expert
from lerobot_xwam.envs.tabletop.interfaces import action_names, action_towards, state_names
from lerobot_xwam.envs.tabletop.play import Player
from lerobot_xwam.envs.tabletop.tasks import get_task

LONGEST_EPISODE = 128  # the encoder's queue holds a whole episode: LeRobot drops frames that do not fit


def expert_episode(env: TabletopEnv, seed: int) -> Iterator[tuple[Observation, NDArray[np.float32]]]:
    """Observation and action of every step of one expert episode; the same seed gives the same episode."""
    observation, _ = env.reset(seed=seed)
    expert = Expert(env.world, np.random.default_rng(seed))
    while not expert.done:
        action = action_towards(env.world, expert.targets(env.world), env.interface)
        yield observation, action
        observation, *_ = env.step(action)
    assert env.world.is_success(), f"the expert failed on {env.task!r} with seed {seed}"


def play_episode(env: TabletopEnv, seed: int) -> Iterator[tuple[Observation, NDArray[np.float32]]]:
    """The same of arms that wander. Nothing ends it early, not even a cube that happens to be lifted."""
    env.reset(seed=seed)
    player = Player(env.world, np.random.default_rng(seed))
    observation = env.observe()
    while not player.done:
        action = action_towards(env.world, player.targets(env.world), env.interface)
        yield observation, action
        observation, *_ = env.step(action)


BEHAVIOURS = {"expert": expert_episode, "play": play_episode}


def write_dataset(
    root: Path,
    *,
    episodes: int,
    cameras: Sequence[str] | None = None,
    size: tuple[int, int] = (64, 80),
    interface: str = "ee",
    depth: bool = True,
    task: str = "lift",
    seed: int = 0,
    fps: int = 15,
    use_videos: bool = True,
    camera_matrices: bool = False,
    repo_id: str | None = None,
    progress: bool = True,
    behaviour: str = "expert",
) -> Path:
    """Write episodes with seeds seed, seed+1, ... as a LeRobotDataset v3; returns its folder.

    Depth goes to `observation.images.<camera>_depth`. Camera matrices are written only if asked for: LeRobot
    takes float features for robot state unless the policy names its input features itself.
    The folder appears when it is complete; an existing one is refused.
    """
    from tqdm import trange

    root = Path(root)
    if root.exists():
        raise ValueError(f"root: {root} exists already; choose another folder or remove this one.")
    if episodes < 1:
        raise ValueError(f"episodes: got {episodes}, wanted at least 1.")
    env = TabletopEnv(task, cameras, size, interface, depth or camera_matrices, fps)
    features = _features(env, depth, use_videos, camera_matrices)

    root.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays on one disk; removed again if anything goes wrong.
    with quiet_encoders(), tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as workshop:
        unfinished = Path(workshop) / root.name
        repo_id = repo_id or f"local/{root.name}"
        dataset = create_dataset(
            unfinished, repo_id, fps, features, "xwam_tabletop", LONGEST_EPISODE, use_videos
        )
        try:
            for episode in trange(episodes, desc="episodes", unit="episode", disable=not progress):
                for observation, action in BEHAVIOURS[behaviour](env, seed + episode):
                    instruction = env.task_description
                    dataset.add_frame(_frame(observation, action, instruction, env, depth, camera_matrices))
                dataset.save_episode()
        finally:
            dataset.finalize()
        os.rename(unfinished, root)
    return root


def _features(env: TabletopEnv, depth: bool, use_videos: bool, camera_matrices: bool) -> dict[str, Any]:
    task, (height, width) = get_task(env.task), env.size
    states, actions = state_names(task, env.interface), action_names(task, env.interface)
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": (len(states),), "names": states},
        "action": {"dtype": "float32", "shape": (len(actions),), "names": actions},
    }
    picture = {"dtype": "video" if use_videos else "image", "names": ["height", "width", "channels"]}
    for name in env.cameras:
        features[f"observation.images.{name}"] = {**picture, "shape": (height, width, 3)}
        if depth:
            flag = {"info": {"is_depth_map": True}}
            features[f"observation.images.{name}_depth"] = {**picture, "shape": (height, width, 1), **flag}
        if camera_matrices:
            for matrix, shape in (("intrinsics", (3, 3)), ("extrinsics", (4, 4))):
                key = f"observation.camera.{name}.{matrix}"
                features[key] = {"dtype": "float32", "shape": shape, "names": None}
    return features


def _frame(
    observation: Observation,
    action: NDArray[np.float32],
    instruction: str,
    env: TabletopEnv,
    depth: bool,
    camera_matrices: bool,
) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "observation.state": observation["agent_pos"],
        "action": action,
        "task": instruction,
    }
    for name in env.cameras:
        frame[f"observation.images.{name}"] = observation["pixels"][name]
        if depth:
            # Float frames are metres to LeRobot.
            frame[f"observation.images.{name}_depth"] = observation[f"depth_{name}"]
        if camera_matrices:
            for matrix in ("intrinsics", "extrinsics"):
                frame[f"observation.camera.{name}.{matrix}"] = observation[f"cam_{name}_{matrix}"]
    return frame
