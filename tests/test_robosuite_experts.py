"""The scripted experts solve their tasks, smoothly, and the same way for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from lerobot_xwam.collecting.episode import Episode, attempt, make_env
from lerobot_xwam.collecting.settings import Settings
from lerobot_xwam.envs.robosuite.env import RobosuiteEnv
from lerobot_xwam.envs.robosuite.experts import EXPERTS, make_expert
from lerobot_xwam.envs.robosuite.experts.hand import about_z, nearest_yaw, pointing_down, rotation_vector
from lerobot_xwam.envs.robosuite.experts.machine import Expert, Phase, funnel
from lerobot_xwam.envs.robosuite.tasks import TASKS

# seeds, and the longest episode that is not a waste of training
QUICK = {
    "lift": (3, 60),
    "stack": (2, 100),
    "two_arm_lift": (2, 70),
    "pick_place_can": (1, 160),
    "door": (1, 95),
}
STANDING = 0.12  # of the greatest step: slower than this nobody can see it move
LAG = (
    7  # steps until fingers that held something are seen to open: robosuite's gripper command is a slow ramp
)


def settings(task: str, noise: float = 0.0, interface: str = "raw") -> Settings:
    return Settings.checked(
        task,
        ["front"],
        (16, 16),
        interface=interface,
        arms=0,
        depth=False,
        camera_matrices=False,
        seed=0,
        noise=noise,
        fps=20,
    )


@cache
def env_of(task: str, interface: str = "raw") -> RobosuiteEnv:
    return make_env(settings(task, interface=interface), task)


@pytest.fixture(scope="module", autouse=True)
def close_envs() -> Iterator[None]:
    yield
    env_of.cache_clear()


def test_every_task_has_an_expert() -> None:
    assert set(EXPERTS) == set(TASKS)
    with pytest.raises(ValueError, match="there are experts for lift, stack"):
        make_expert("juggle", None, np.random.default_rng(0))


@pytest.mark.parametrize("task", QUICK)
def test_the_expert_succeeds(task: str) -> None:
    seeds, longest = QUICK[task]
    for seed in range(seeds):
        episode = attempt(env_of(task), settings(task), seed)
        assert episode is not None, f"failed on seed {seed}"
        assert len(episode) <= longest
        check_motion(episode)


def check_motion(episode: Episode) -> None:
    """Commands within the controller's range; hands and fingers never stand still for long together."""
    hands = episode.arrays["action"].reshape(len(episode), -1, 7)
    assert np.abs(hands).max() <= 1.0
    assert np.isin(hands[..., 6], (-1.0, 1.0)).all()
    fingers = np.abs(
        np.diff(episode.arrays["observation.state"].reshape(len(episode), -1, 8)[..., 7], axis=0)
    )
    moves = np.linalg.norm(hands[:-1, :, :6], axis=-1).max(axis=1) > STANDING
    standing = ~(moves | (fingers.max(axis=1) > 0.01))
    longest, run = 0, 0
    for still in standing:
        run = run + 1 if still else 0
        longest = max(longest, run)
    assert longest <= LAG, f"stands still for {longest} steps"


def test_the_same_seed_gives_the_same_episode_and_another_gives_another() -> None:
    env, noisy = env_of("lift"), settings("lift", noise=1.0)
    one, other, again = (attempt(env, noisy, seed) for seed in (5, 6, 5))
    assert one is not None and other is not None and again is not None
    for key in one.arrays:
        np.testing.assert_array_equal(one.arrays[key], again.arrays[key])
    assert one.instruction == again.instruction
    assert len(one) != len(other) or not np.allclose(one.arrays["action"], other.arrays["action"])


def test_disturbed_episodes_show_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hand goes elsewhere, but every recorded action is the expert's for where it is."""
    from lerobot_xwam.collecting import episode as module

    asked: list[np.ndarray] = []
    original = Expert.action

    def watched(self: Expert) -> np.ndarray:
        asked.append(original(self))
        return asked[-1]

    monkeypatch.setattr(Expert, "action", watched)
    monkeypatch.setattr(module.Disturbance, "start", lambda self: iter(()))
    calm = attempt(env_of("lift"), settings("lift"), 2)
    asked.clear()
    pushed = attempt(env_of("lift"), settings("lift", noise=1.0), 2)
    assert calm is not None and pushed is not None and pushed.disturbed and not calm.disturbed
    recorded = pushed.arrays["action"]
    np.testing.assert_allclose(recorded[:, :6], np.stack(asked)[:, :6], atol=1e-6)
    np.testing.assert_array_equal(recorded[:, 6], -np.stack(asked)[:, 6])  # raw actions open with +1
    both = min(len(calm), len(pushed))
    ways = [each.arrays["observation.state"][:both, :3] for each in (calm, pushed)]
    assert np.linalg.norm(ways[0] - ways[1], axis=-1).max() > 0.01


@pytest.mark.parametrize("interface", ["ee", "native"])
def test_other_interfaces_do_the_same(interface: str) -> None:
    env = env_of("lift", interface)
    episode = attempt(env, settings("lift", interface=interface), 0)
    assert episode is not None
    assert episode.arrays["action"].shape == (len(episode), len(env.action_names))


def test_an_expert_that_gets_nowhere_gives_up() -> None:
    class Stuck(Expert):
        def phases(self) -> list[Phase]:
            hand = self.hands[0]

            def stay() -> list[Any]:
                from lerobot_xwam.envs.robosuite.experts.hand import OPEN, Aim

                return [Aim(hand.position, hand.rotation, OPEN)]

            return [Phase("stay", stay, lambda: False, most=3)]

    env = env_of("lift")
    env.reset(seed=0)
    expert = Stuck(env.simulation, np.random.default_rng(0))
    actions = 0
    while not expert.done:
        np.testing.assert_allclose(expert.action()[:6], 0.0, atol=1e-9)
        actions += 1
    assert (actions, expert.gave_up, expert.phase) == (3, True, "done")
    with pytest.raises(ValueError, match="done"):
        expert.action()


def test_geometry() -> None:
    from scipy.spatial.transform import Rotation

    for vector in np.random.default_rng(0).uniform(-1.7, 1.7, size=(20, 3)):
        np.testing.assert_allclose(
            rotation_vector(Rotation.from_rotvec(vector).as_matrix()), vector, atol=1e-9
        )
    np.testing.assert_allclose(rotation_vector(np.eye(3)), 0.0, atol=1e-12)
    down = pointing_down(0.3)
    np.testing.assert_allclose(down[:, 2], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(down.T @ down, np.eye(3), atol=1e-12)
    assert np.linalg.det(down) == pytest.approx(1.0)
    np.testing.assert_allclose(about_z(0.3)[:, 0], down[:, 0], atol=1e-12)

    class Turned:
        rotation = pointing_down(3.0)

    for yaw in np.linspace(-7, 7, 30):
        near = nearest_yaw(Turned(), float(yaw), np.pi / 2)  # type: ignore[arg-type]
        assert abs(near - 3.0) <= np.pi / 4 + 1e-9
        assert np.sin(2 * (near - yaw)) == pytest.approx(0.0, abs=1e-9)
    assert funnel(0.5, 0.01, 0.1) == pytest.approx(0.1)
    assert funnel(0.01, 0.01, 0.1) == 0.0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("task", "noise", "least"),
    [
        ("lift", 0.0, 29),
        ("stack", 0.0, 29),
        ("two_arm_lift", 0.0, 29),
        ("pick_place_can", 0.0, 26),
        ("door", 0.0, 26),
        ("lift", 1.0, 27),
        ("stack", 1.0, 27),
        ("two_arm_lift", 1.0, 27),
    ],
)
def test_success_over_thirty_seeds(task: str, noise: float, least: int) -> None:
    found = [attempt(env_of(task), settings(task, noise), seed) for seed in range(1000, 1030)]
    steps = [len(episode) for episode in found if episode is not None]
    print(f"{task} noise {noise}: {len(steps)}/30, steps {np.mean(steps):.0f} ({min(steps)}..{max(steps)})")
    assert len(steps) >= least
