"""Play: any motion from anywhere on an expert's way, recorded as it was done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lerobot_xwam.cli.main import main
from lerobot_xwam.collecting.episode import Episode, attempt, make_env
from lerobot_xwam.collecting.settings import Settings
from lerobot_xwam.envs.robosuite.env import RobosuiteEnv
from lerobot_xwam.envs.robosuite.experts.play import ROOM, STEPS, WORDINGS

SEEDS = (0, 1, 2)
DRIFT = 0.06  # metres: a hand goes on a little when it is told to turn back


def settings(**changes: Any) -> Settings:
    usual: dict[str, Any] = {"interface": "raw", "arms": 0, "depth": False, "camera_matrices": False}
    return Settings.checked(
        "lift",
        ["front"],
        (16, 16),
        **(usual | {"seed": 0, "noise": 0.0, "fps": 20, "behaviour": "play"} | changes),
    )


@pytest.fixture(scope="module")
def env() -> Iterator[RobosuiteEnv]:
    made = make_env(settings(), "lift")
    yield made
    made.close()


@pytest.fixture(scope="module")
def episodes(env: RobosuiteEnv) -> list[Episode]:
    found = [attempt(env, settings(), seed) for seed in SEEDS]
    return [each for each in found if each is not None]


def test_every_seed_gives_an_episode_of_its_own(env: RobosuiteEnv, episodes: list[Episode]) -> None:
    assert [len(each) for each in episodes] == [STEPS] * len(SEEDS)
    assert all(each.instruction in WORDINGS for each in episodes)
    again = attempt(env, settings(), SEEDS[0])
    assert again is not None and again.instruction == episodes[0].instruction
    for key, values in episodes[0].arrays.items():
        np.testing.assert_array_equal(again.arrays[key], values)
    assert not np.array_equal(episodes[0].arrays["action"], episodes[1].arrays["action"])


def test_what_is_recorded_was_done(env: RobosuiteEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    step = env.step

    def watched(action: np.ndarray) -> Any:
        done.append(action.copy())
        return step(action)

    monkeypatch.setattr(env, "step", watched)
    episode = attempt(env, settings(), 3)
    assert episode is not None
    np.testing.assert_array_equal(np.stack(done[-STEPS:]), episode.arrays["action"])


def test_hands_go_everywhere_and_stay_in_their_room(episodes: list[Episode]) -> None:
    motions = np.concatenate([each.arrays["action"][:, :3] for each in episodes])
    assert (motions.max(axis=0) > 0.1).all() and (motions.min(axis=0) < -0.1).all()
    fingers = np.concatenate([each.arrays["action"][:, 6] for each in episodes])
    assert set(np.unique(fingers)) == {-1.0, 1.0}
    for each in episodes:
        places = each.arrays["observation.state"][:, :3]
        assert (np.ptp(places, axis=0) <= 2 * (ROOM + DRIFT)).all()
        assert np.ptp(places, axis=0).max() > 0.05


def test_opposite_commands_move_the_hand_to_opposite_sides(episodes: list[Episode]) -> None:
    """What a world model should learn: the motion follows the action, a few steps late."""
    for each in episodes:
        moved = np.diff(each.arrays["observation.state"][:, :3], axis=0)[2:]
        told = each.arrays["action"][:-1, :3][:-2]
        assert (moved * told).sum() / np.linalg.norm(moved) / np.linalg.norm(told) > 0.5


def test_play_cannot_be_disturbed() -> None:
    with pytest.raises(ValueError, match=r"--behaviour play --noise 0\.5: nothing is aimed at"):
        settings(noise=0.5)
    with pytest.raises(ValueError, match="--behaviour dance: wanted one of expert, play"):
        settings(behaviour="dance")


@pytest.mark.slow
def test_the_command_writes_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "play"
    command = ["collect", "--behaviour=play", "--episodes=2", "--size", "16", "16", "--no-depth"]
    assert main([*command, "--cameras", "front", "--workers=1", f"--out={out}"]) == 0
    assert "lift: 2 episodes of play" in capsys.readouterr().out
    about = json.loads((out / "meta/collected.json").read_text(encoding="utf-8"))
    assert about["settings"]["behaviour"] == "play"
    assert [each["frames"] for each in about["episodes"]] == [STEPS, STEPS]
