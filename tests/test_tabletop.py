"""The tabletop world: exact geometry, repeatable episodes, an expert that succeeds, LeRobot on top."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.envs.factory import make_env, make_env_config
from lerobot.envs.utils import env_to_policy_features, preprocess_observation
from scipy.spatial.transform import Rotation

from lerobot_xwam.envs.tabletop.cameras import HAND_EYE, STATIC
from lerobot_xwam.envs.tabletop.dataset import BEHAVIOURS, expert_episode, write_dataset
from lerobot_xwam.envs.tabletop.env import TabletopEnv
from lerobot_xwam.envs.tabletop.expert import Expert
from lerobot_xwam.envs.tabletop.interfaces import (
    action_names,
    action_towards,
    measure,
    state_names,
    targets_of,
)
from lerobot_xwam.envs.tabletop.render import Box, Room, Sphere
from lerobot_xwam.envs.tabletop.scene import build_scene
from lerobot_xwam.envs.tabletop.tasks import TASKS, get_task
from lerobot_xwam.envs.tabletop.world import CUBE_SIZE, LIFTED, World, random_world

EXACT = 1e-4  # metres
FPS = 15
BOTH = pytest.mark.parametrize("task", ["lift", "lift_two_arms"])
INTERFACE = pytest.mark.parametrize("interface", ["ee", "native"])


def back_project(observation: dict, name: str) -> np.ndarray:
    """World points of all pixels, from nothing but depth and the two matrices.  # H W 3"""
    depth = observation[f"depth_{name}"][..., 0].astype(np.float64)  # H W
    k, pose = observation[f"cam_{name}_intrinsics"], observation[f"cam_{name}_extrinsics"]
    v, u = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]] + 0.5
    x, y = (u - k[0, 2]) / k[0, 0] * depth, (v - k[1, 2]) / k[1, 1] * depth
    return np.stack([x, y, depth], axis=-1) @ pose[:3, :3].T + pose[:3, 3]


def project(point: np.ndarray, observation: dict, name: str) -> tuple[int, int]:
    """Row and column of the pixel that shows a world point."""
    pose = observation[f"cam_{name}_extrinsics"].astype(np.float64)
    x, y, z = (point - pose[:3, 3]) @ pose[:3, :3]
    u, v, w = observation[f"cam_{name}_intrinsics"] @ np.array([x, y, z])
    return int(v / w), int(u / w)


def distance_to_surface(points: np.ndarray, solid: Box | Sphere | Room) -> np.ndarray:
    """Unsigned distance, by textbook formulas that share nothing with the ray casting.  # N 3 -> N"""
    if isinstance(solid, Sphere):
        return np.abs(np.linalg.norm(points - solid.centre, axis=1) - solid.radius)
    if isinstance(solid, Room):
        centre, half, rotation = (solid.low + solid.high) / 2, (solid.high - solid.low) / 2, np.eye(3)
    else:
        centre, half, rotation = solid.centre, solid.half, solid.rotation
    q = np.abs((points - centre) @ rotation) - half
    outside = np.linalg.norm(np.maximum(q, 0), axis=1)
    return np.abs(outside + np.minimum(q.max(axis=1), 0))


def run_expert(task: str, interface: str, seed: int) -> tuple[World, np.ndarray, np.ndarray]:
    """The world after an expert episode, its states (T+1) and its actions (T), without pictures."""
    world = random_world(get_task(task), np.random.default_rng(seed))
    expert = Expert(world, np.random.default_rng(seed))
    states, actions = [measure(world, interface)], []
    while not expert.done:
        actions.append(action_towards(world, expert.targets(world), interface))
        world.step(targets_of(world, actions[-1], interface))
        states.append(measure(world, interface))
    return world, np.stack(states), np.stack(actions)


# --- geometry


@pytest.mark.parametrize(
    ("task", "cameras"),
    [
        ("lift", ("back", "front", "high", "left", "low", "right", "top", "wrist")),
        ("lift_two_arms", ("front", "wrist_left", "wrist_right")),
    ],
)
def test_depth_back_projects_onto_the_surfaces(task: str, cameras: tuple[str, ...]) -> None:
    env = TabletopEnv(task, cameras, size=(48, 64), depth=True)
    for step, (observation, _) in enumerate(expert_episode(env, seed=5)):
        if step % 15:
            continue
        scene = build_scene(env.world, env._looks)
        for name in cameras:
            points = back_project(observation, name).reshape(-1, 3)
            surfaces = [distance_to_surface(points, solid) for solid in (scene.room, *scene.solids)]
            assert np.min(surfaces, axis=0).max() < EXACT, (name, step)


@pytest.mark.parametrize("name", ["top", "high", "front"])
def test_cubes_are_seen_where_they_are(name: str) -> None:
    env = TabletopEnv("lift", [name], size=(128, 160), depth=True)
    seen_cubes = 0
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        for cube in env.world.cubes:
            top = cube.pose[:3, 3] + np.array([0.0, 0.0, CUBE_SIZE / 2])
            row, column = project(top, observation, name)
            seen = back_project(observation, name)[row, column]
            if name == "top":  # nothing can stand in front of it from here, except the hand
                assert np.linalg.norm(seen[:2] - top[:2]) < 0.01
            if np.linalg.norm(seen - top) < 0.01:
                seen_cubes += 1
                assert abs(seen[2] - CUBE_SIZE) < EXACT
                red, _, blue = observation["pixels"][name][row, column].astype(int)
                assert (red > blue + 60) == (cube.colour == "red") and (blue > red + 60) == (
                    cube.colour == "blue"
                )
    assert seen_cubes >= 7  # of ten; the hand or the other cube may hide some


@BOTH
def test_wrist_camera_follows_from_the_state(task: str) -> None:
    names = ["wrist"] if task == "lift" else ["wrist_left", "wrist_right"]
    env = TabletopEnv(task, names, size=(16, 20), depth=True)
    poses = []
    for observation, _ in expert_episode(env, seed=1):
        for arm, name in enumerate(names):
            state = observation["agent_pos"][8 * arm : 8 * arm + 8]
            tool = np.eye(4)
            tool[:3, :3] = Rotation.from_quat(state[3:7], scalar_first=True).as_matrix()
            tool[:3, 3] = state[:3]
            np.testing.assert_allclose(observation[f"cam_{name}_extrinsics"], tool @ HAND_EYE, atol=1e-6)
            poses.append(observation[f"cam_{name}_extrinsics"])
    assert np.ptp(np.stack(poses)[:, :3, 3], axis=0).min() > 0.02  # it does move


def test_pictures_are_lively() -> None:
    """Every camera of every task sees something, and sees it change."""
    for task in TASKS:
        wrists = ("wrist",) if task == "lift" else ("wrist_left",)
        env = TabletopEnv(task, (*STATIC, *wrists), size=(32, 40))
        before, _ = env.reset(seed=2)
        expert = Expert(env.world, np.random.default_rng(2))
        while not expert.done:
            env.world.step(expert.targets(env.world))
        after = env.observe()
        for name in env.cameras:
            first, last = before["pixels"][name].astype(int), after["pixels"][name].astype(int)
            assert first.std() > 20 and (np.abs(first - last).max(axis=2) > 40).mean() > 0.02, name


# --- episodes


def test_seeds_repeat_exactly() -> None:
    def episode(seed: int) -> tuple[list[np.ndarray], str]:
        env = TabletopEnv("lift", ["front", "wrist"], size=(16, 20), depth=True)
        arrays = []
        for observation, action in expert_episode(env, seed):
            arrays += [observation["agent_pos"], observation["depth_wrist"], action]
            arrays += list(observation["pixels"].values())
        return arrays, env.task_description

    first, words = episode(3)
    again, same_words = episode(3)
    other, _ = episode(4)
    assert words == same_words and len(first) == len(again)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_the_instruction_decides_the_cube() -> None:
    env = TabletopEnv("lift", ["front"], size=(16, 20))
    for target, other in (("red", "blue"), ("blue", "red")):
        observation, _ = env.reset(seed=7, options={"target": target})
        assert target in env.task_description and other not in env.task_description
        expert = Expert(env.world, np.random.default_rng(0))
        env.world.target = other  # the expert goes on to what it was told first
        while not expert.done:
            env.world.step(expert.targets(env.world))
        assert not env.world.is_success()
        env.world.target = target
        assert env.world.is_success()
    same, _ = env.reset(seed=7, options={"target": "red"})
    assert np.array_equal(same["pixels"]["front"], observation["pixels"]["front"])  # same scene, other words


@BOTH
@INTERFACE
def test_the_expert_succeeds(task: str, interface: str) -> None:
    runs = [run_expert(task, interface, seed) for seed in range(20)]
    assert sum(world.is_success() for world, *_ in runs) >= 19
    lengths = [len(actions) for _, _, actions in runs]
    assert min(lengths) >= 45 and max(lengths) <= 60
    assert {type(word) for world, *_ in runs for word in [world.instruction]} == {str}
    assert len({world.instruction for world, *_ in runs}) > 3


@BOTH
@INTERFACE
def test_recorded_actions_replay_open_loop(task: str, interface: str) -> None:
    for seed in range(3):
        _, states, actions = run_expert(task, interface, seed)
        world = random_world(get_task(task), np.random.default_rng(seed))
        for action, state in zip(actions, states[1:], strict=True):
            world.step(targets_of(world, action, interface))
            np.testing.assert_allclose(measure(world, interface), state, atol=1e-5)
        assert world.is_success()


@BOTH
def test_both_interfaces_drive_the_same_world(task: str) -> None:
    by_pose, _, _ = run_expert(task, "ee", seed=0)
    by_joints, _, _ = run_expert(task, "native", seed=0)
    for one, other in zip(by_pose.arms, by_joints.arms, strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-5)


@BOTH
def test_ee_actions_are_differences_of_ee_states(task: str) -> None:
    _, states, actions = run_expert(task, "ee", seed=2)
    turned = 0.0
    for arm in range(len(get_task(task).arms)):
        state, action = states[:, 8 * arm : 8 * arm + 8], actions[:, 7 * arm : 7 * arm + 7]
        np.testing.assert_allclose(np.linalg.norm(state[:, 3:7], axis=1), 1, atol=1e-6)
        assert (state[:, 3] >= 0).all() and (np.abs(state[:, 3:7]).max(axis=0) > 1e-3).all()
        np.testing.assert_allclose(np.diff(state[:, :3], axis=0), action[:, :3], atol=1e-6)
        np.testing.assert_allclose(np.diff(state[:, 7]), action[:, 6], atol=1e-6)
        turns = Rotation.from_quat(state[:, 3:7], scalar_first=True)
        np.testing.assert_allclose((turns[1:] * turns[:-1].inv()).as_rotvec(), action[:, 3:6], atol=1e-5)
        turned += np.abs(action[:, 3:6]).sum()
    assert turned > 0.1


def test_an_opened_gripper_drops_the_cube() -> None:
    world, _, _ = run_expert("lift", "ee", seed=0)
    cube = world.cube_for(world.arms[0])
    assert cube.pose[2, 3] > LIFTED and world.arms[0].carried is cube
    for _ in range(10):
        world.step(targets_of(world, np.array([0, 0, 0, 0, 0, 0, 0.2]), "ee"))
    assert cube.pose[2, 3] == pytest.approx(CUBE_SIZE / 2) and not world.is_success()
    np.testing.assert_allclose(cube.pose[:3, 2], [0, 0, 1], atol=1e-9)


def test_wrong_use_says_what_is_right() -> None:
    with pytest.raises(ValueError, match="wrist_left"):
        TabletopEnv("lift_two_arms", ["front", "wrist"])
    with pytest.raises(ValueError, match="1 to 8"):
        TabletopEnv("lift", ["front", "front"])
    with pytest.raises(ValueError, match="lift_two_arms"):
        TabletopEnv("juggle")
    with pytest.raises(ValueError, match="native"):
        TabletopEnv("lift", interface="torque")
    with pytest.raises(ValueError, match="16 pixels"):
        TabletopEnv("lift", size=(8, 80))
    with pytest.raises(ValueError, match="reset"):
        _ = TabletopEnv("lift").task_description
    env = TabletopEnv("lift", ["front"], size=(16, 20))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="left_drx"):
        env.step(np.zeros(14))
    with pytest.raises(ValueError, match="1 non-finite"):
        env.step(np.array([0, 0, np.nan, 0, 0, 0, 0]))
    with pytest.raises(ValueError, match="red and blue"):
        env.reset(options={"target": "green"})


# --- dataset


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tabletop") / "lift"
    return write_dataset(root, episodes=2, cameras=("front", "wrist"), seed=11, progress=False)


def test_dataset_reads_back(written: Path) -> None:
    deltas = {
        "observation.state": [4 * i / FPS for i in range(9)],
        "observation.images.wrist": [4 * i / FPS for i in range(9)],
        "observation.images.wrist_depth": [4 * i / FPS for i in range(9)],
        "action": [i / FPS for i in range(32)],
    }
    dataset = LeRobotDataset("local/lift", root=written, delta_timestamps=deltas, video_backend="pyav")
    assert dataset.meta.depth_keys == ["observation.images.front_depth", "observation.images.wrist_depth"]
    assert dataset.features["observation.state"]["names"] == state_names(get_task("lift"), "ee")
    assert dataset.features["action"]["names"] == action_names(get_task("lift"), "ee")

    env = TabletopEnv("lift", ("front", "wrist"), depth=True)
    episode = list(expert_episode(env, seed=12))  # the second one
    offset, start = int(dataset.meta.episodes[1]["dataset_from_index"]), 6
    assert dataset.meta.episodes[1]["length"] == len(episode) >= 33 + start
    item = dataset[offset + start]
    assert item["task"] == env.task_description
    np.testing.assert_array_equal(item["action"], np.stack([a for _, a in episode[start : start + 32]]))
    assert not item["observation.images.wrist_is_pad"].any()
    for frame in range(9):
        observation, _ = episode[start + 4 * frame]
        np.testing.assert_array_equal(item["observation.state"][frame], observation["agent_pos"])
        picture = item["observation.images.wrist"][frame].permute(1, 2, 0).numpy() * 255
        error = picture - observation["pixels"]["wrist"]
        assert 10 * np.log10(255**2 / np.square(error).mean()) > 36
        metres = observation["depth_wrist"][..., 0].astype(np.float64)
        # 12 bits over log(d + 3.5) from 0.01 to 10 m, then whole millimetres: half a step of each.
        tolerance = 1000 * (metres + 3.5) * np.log(13.5 / 3.51) / 4095 / 2 + 0.5 + 0.02
        assert (
            np.abs(item["observation.images.wrist_depth"][frame, 0].numpy() - 1000 * metres) < tolerance
        ).all()


def test_dataset_as_images_with_matrices(tmp_path: Path) -> None:
    root = write_dataset(
        tmp_path / "two",
        episodes=1,
        cameras=("front", "wrist_right"),
        size=(16, 24),
        interface="native",
        task="lift_two_arms",
        use_videos=False,
        camera_matrices=True,
        progress=False,
    )
    item = LeRobotDataset("local/two", root=root)[20]
    env = TabletopEnv("lift_two_arms", ("front", "wrist_right"), (16, 24), "native", depth=True)
    observation, action = list(expert_episode(env, seed=0))[20]
    np.testing.assert_array_equal(item["observation.state"], observation["agent_pos"])
    np.testing.assert_array_equal(item["action"], action)
    assert action.shape == (10,) and len(state_names(get_task("lift_two_arms"), "native")) == 10
    for name in env.cameras:
        picture = item[f"observation.images.{name}"].permute(1, 2, 0).numpy() * 255
        np.testing.assert_allclose(picture, observation["pixels"][name], atol=1e-3)
        depth = item[f"observation.images.{name}_depth"].squeeze().numpy()
        np.testing.assert_allclose(depth, 1000 * observation[f"depth_{name}"][..., 0], atol=0.51)
        for matrix in ("intrinsics", "extrinsics"):
            expected = observation[f"cam_{name}_{matrix}"]
            np.testing.assert_array_equal(item[f"observation.camera.{name}.{matrix}"], expected)


def test_existing_folder_is_refused(written: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in written.rglob("*"))
    with pytest.raises(ValueError, match="exists already"):
        write_dataset(written, episodes=1, progress=False)
    assert sorted(path.stat().st_mtime_ns for path in written.rglob("*")) == before


def test_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(env: TabletopEnv, seed: int) -> Iterator:
        for step, frame in enumerate(expert_episode(env, seed)):
            if seed == 1 and step == 10:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setitem(BEHAVIOURS, "expert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "half", episodes=2, cameras=["front"], size=(16, 24), progress=False)
    assert list(tmp_path.iterdir()) == []


# --- LeRobot's environments


def test_lerobot_steps_two_environments() -> None:
    config = make_env_config("xwam_tabletop", depth=True, cameras="front,wrist")
    features = env_to_policy_features(config)
    assert features["action"].shape == (7,) and features["observation.state"].shape == (8,)
    assert features["observation.images.wrist"].shape == (3, 64, 80)
    assert not any("/" in key for key in config.features)  # LeRobot cannot record evaluations otherwise

    vector = make_env(config, n_envs=2)["xwam_tabletop"][0]
    raw, _ = vector.reset(seed=[0, 1])
    preprocess, _ = config.get_env_processors()
    observation = preprocess(preprocess_observation(raw) | {"task": list(vector.call("task_description"))})
    assert observation["observation.images.front"].shape == (2, 3, 64, 80)
    depth = observation["observation.images.front_depth"]
    np.testing.assert_allclose(depth[:, 0].numpy(), 1000 * raw["depth_front"][..., 0], rtol=1e-6)
    assert observation["observation.camera.wrist.extrinsics"].shape == (2, 4, 4)
    assert len(observation["task"]) == 2 and vector.call("_max_episode_steps") == (90, 90)
    assert vector.metadata["render_fps"] == 15 and vector.call("render")[0].shape == (192, 240, 3)

    experts = [Expert(env.world, np.random.default_rng(0)) for env in vector.envs]
    success = [False, False]
    for _ in range(60):
        pairs = zip(vector.envs, experts, strict=True)
        actions = np.stack(
            [action_towards(env.world, expert.targets(env.world), "ee") for env, expert in pairs]
        )
        _, reward, terminated, _, info = vector.step(actions)
        for index in np.flatnonzero(terminated):
            success[index] = bool(info["final_info"]["is_success"][index])
            assert reward[index] == 1.0
        if all(success):
            break
    assert success == [True, True]
    vector.close()


@pytest.mark.slow
def test_asynchronous_environments_see_the_same() -> None:
    config = make_env_config(
        "xwam_tabletop", task="lift_two_arms", observation_height=32, observation_width=40
    )
    observations = []
    for use_async in (False, True):
        vector = make_env(config, n_envs=2, use_async_envs=use_async)["xwam_tabletop"][0]
        vector.reset(seed=[0, 1])
        observations.append(vector.step(np.full((2, 14), 0.01, dtype=np.float32))[0])
        vector.close()
    one, other = observations
    np.testing.assert_array_equal(one["agent_pos"], other["agent_pos"])
    for name in config.camera_names:
        np.testing.assert_array_equal(one["pixels"][name], other["pixels"][name])
