"""Demonstrations on the mock robot in simulated time: seconds instead of minutes.

python scripts/rtc_loop/demonstrations.py FOLDER EPISODES FPS MOTION

MOTION `lift` is that of the robot's own expert, `wipe` is scripts/rtc_loop/wiping.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lerobot.datasets import aggregate_pipeline_dataset_features, create_initial_features
from lerobot.processor import make_default_processors
from lerobot.utils.constants import ACTION, OBS_STR
from lerobot.utils.feature_utils import build_dataset_frame, combine_feature_dicts
from tqdm import trange

from lerobot_xwam.data.writing import create_dataset, quiet_encoders
from lerobot_xwam.robots.config_expert import XWAMMockExpertConfig
from lerobot_xwam.robots.config_mock import XWAMMockConfig
from lerobot_xwam.robots.expert import XWAMMockExpert
from lerobot_xwam.robots.mock import XWAMMock
from lerobot_xwam.weights.output_folder import appearing_folder

sys.path.insert(0, str(Path(__file__).parent.parent))  # started as a script
from rtc_loop.wiping import Wiper

EPISODE_S, RESET_S = 4.0, 3.0
TASKS = {"lift": "lift the red cube", "wipe": "wipe the table"}


def make_robot(fps: int, seed: int) -> XWAMMock:
    """One arm, one camera, a clock that moves on with every action."""
    return XWAMMock(
        XWAMMockConfig(
            id="rtc", cameras="front", height=64, width=80, depth=False, real_time=False, fps=fps, seed=seed
        )
    )


def make_operator(motion: str, fps: int) -> XWAMMockExpert | Wiper:
    if motion == "wipe":
        return Wiper(round(EPISODE_S * fps), round((EPISODE_S + RESET_S) * fps) - round(EPISODE_S * fps))
    return XWAMMockExpert(XWAMMockExpertConfig(id="rtc", episode_s=EPISODE_S, reset_s=RESET_S))


def write_demonstrations(root: Path, episodes: int, fps: int, motion: str) -> None:
    """What `lerobot-record` would write, without waiting for real time."""
    robot = make_robot(fps, seed=0)
    operator = make_operator(motion, fps)
    features = features_of(robot)
    with appearing_folder(root) as folder, quiet_encoders():
        folder.rmdir()  # LeRobot makes it itself
        length = round(EPISODE_S * fps)
        dataset = create_dataset(folder, f"local/{root.name}", fps, features, robot.name, length)
        operator.connect()
        robot.connect()
        try:
            for _ in trange(episodes, desc="demonstrations", unit="episode"):
                for step in range(round((EPISODE_S + RESET_S) * fps)):
                    seen = robot.get_observation() if step < length else None
                    action = operator.get_action()
                    robot.send_action(action)
                    if seen is not None:
                        frame = build_dataset_frame(features, seen, prefix=OBS_STR)
                        frame |= build_dataset_frame(features, action, prefix=ACTION)
                        dataset.add_frame({**frame, "task": TASKS[motion]})
                dataset.save_episode()
        finally:
            dataset.finalize()
            operator.disconnect()
            robot.disconnect()


def features_of(robot: XWAMMock) -> dict[str, Any]:
    """The dataset's features, as lerobot-record finds them."""
    of_teleop, _, of_robot = make_default_processors()
    action = create_initial_features(action=robot.action_features)
    seen = create_initial_features(observation=robot.observation_features)
    return combine_feature_dicts(
        aggregate_pipeline_dataset_features(of_teleop, initial_features=action, use_videos=True),
        aggregate_pipeline_dataset_features(of_robot, initial_features=seen, use_videos=True),
    )


if __name__ == "__main__":
    write_demonstrations(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
