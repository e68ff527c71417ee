"""Play in the tabletop world: any action, anywhere, and recorded as it was done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from lerobot_xwam.envs.tabletop.dataset import play_episode, write_dataset
from lerobot_xwam.envs.tabletop.env import TabletopEnv
from lerobot_xwam.envs.tabletop.play import HIGH, LOW, STEPS
from lerobot_xwam.space.poses import integrate

EPISODES = 20


@pytest.fixture(scope="module")
def played() -> tuple[np.ndarray, np.ndarray]:
    """States and actions.  # each episodes steps 8|7"""
    env = TabletopEnv(cameras=("front",), size=(16, 16))
    found = [
        [(seen["agent_pos"], done) for seen, done in play_episode(env, seed)] for seed in range(EPISODES)
    ]
    states, actions = (np.array([[row[which] for row in one] for one in found]) for which in (0, 1))
    assert states.shape == (EPISODES, STEPS, 8) and actions.shape == (EPISODES, STEPS, 7)
    return states, actions


def test_what_is_recorded_is_what_happens(played: tuple[np.ndarray, np.ndarray]) -> None:
    states, actions = played
    for episode in range(EPISODES):
        for step in range(0, STEPS - 1, 7):
            then = integrate(states[episode, step], actions[episode, step])
            assert np.abs(then[:3] - states[episode, step + 1, :3]).max() < 0.01  # a cube may be in the way


def test_every_direction_is_tried_and_none_is_preferred(played: tuple[np.ndarray, np.ndarray]) -> None:
    states, actions = played
    moves = actions[..., :3].reshape(-1, 3)
    assert (np.abs(moves.mean(axis=0)) < 0.2 * moves.std(axis=0)).all()
    for axis in range(3):
        there, back = (moves[:, axis] > 1e-4).mean(), (moves[:, axis] < -1e-4).mean()
        assert there > 0.3 and back > 0.3  # about 70 motions in all
    assert (states[..., 7] < 0.5).any() and (states[..., 7] > 0.9).any()
    assert len(np.unique(states[:, 0, :3].round(3), axis=0)) > EPISODES / 2


def test_it_stays_where_cameras_look(played: tuple[np.ndarray, np.ndarray]) -> None:
    from_the_column = played[0][..., :3] - np.array([-0.35, 0.0, 0.0])
    assert (from_the_column > LOW - 0.02).all() and (from_the_column < HIGH + 0.02).all()


def test_seeds_repeat_and_differ(tmp_path: Path) -> None:
    roots = [
        write_dataset(
            tmp_path / name,
            episodes=1,
            cameras=("front",),
            seed=seed,
            size=(16, 16),
            progress=False,
            behaviour="play",
        )
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    ]
    one, again, other = (
        np.stack(LeRobotDataset("local/x", root=root, video_backend="pyav").hf_dataset["action"])
        for root in roots
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert len(one) == STEPS
