"""A closed loop at a fixed rate, with a policy that needs `delay` actions of time for every chunk.

    chunk n      0 ........ 15 ......... 15 + delay ... 32
                 |          | asked for the next: n + 1 |
    executed     from row `delay` of each chunk on, up to row 15 + delay

"naive" makes every chunk from the observation alone and switches to it when it is there. "prefix" is X-WAM's
real-time chunking: the actions that run meanwhile are given, and what follows leans on the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.utils import prepare_observation_for_inference
from lerobot.utils.constants import OBS_STR
from lerobot.utils.feature_utils import build_dataset_frame
from torch import Tensor

from lerobot_xwam.modeling_xwam import XWAMPolicy
from rtc_loop.demonstrations import features_of, make_robot
from rtc_loop.jumps import Drive

METHODS = ("naive", "prefix")
EXECUTED = 15  # actions of each chunk, the paper's
STILL = 1e-6  # a joint whose targets differ by less does not move


@dataclass(frozen=True)
class Pilot:
    """A policy with its processors."""

    policy: XWAMPolicy
    before: Any
    after: Any
    low: Tensor  # A, range of the demonstrations' actions
    high: Tensor
    task: str

    @classmethod
    def load(cls, checkpoint: Path, low: Tensor, high: Tensor, task: str) -> Pilot:
        config = PreTrainedConfig.from_pretrained(checkpoint)
        config.latent_cache = config.text_cache = None
        config.rtc_config = RTCConfig(execution_horizon=config.chunk_size - EXECUTED)
        policy = XWAMPolicy.from_pretrained(checkpoint, config=config).eval()
        processors = make_pre_post_processors(config, pretrained_path=str(checkpoint))
        return cls(policy, *processors, low, high, task)

    def chunk(self, seen: dict[str, Any], **plan: Any) -> Tensor:
        """In model space.  # K A"""
        batch = prepare_observation_for_inference(seen, torch.device("cpu"), self.task)
        return self.policy.predict_action_chunk(self.before(batch), **plan)[0]

    def scaled(self, actions: Tensor) -> Tensor:
        """In units of the demonstrations' range, without joints that do not move.  # T A -> T a"""
        span = self.high - self.low
        return ((actions - self.low) / span)[:, span > STILL]

    def in_robot_units(self, chunk: Tensor) -> Tensor:
        return self.after(chunk[None])[0]


def drive(pilot: Pilot, method: str, delay: int, seed: int, fps: int, ticks: int) -> Drive:
    """One episode on a table that no demonstration showed."""
    torch.manual_seed(seed)  # the noise of the chunks: the same for every method
    robot = make_robot(fps, seed)
    features = features_of(robot)
    pilot.policy.reset()
    pilot.after.reset()
    sent: list[Tensor] = []
    borders: list[int] = []
    with robot:

        def look() -> dict[str, Any]:
            return build_dataset_frame(features, robot.get_observation(), prefix=OBS_STR)

        def execute(actions: Tensor) -> None:
            for action in actions:
                robot.send_action(dict(zip(robot.action_features, action.tolist(), strict=True)))
                sent.append(action)

        chunk = pilot.chunk(look())  # before the first motion: nobody waits
        actions = pilot.in_robot_units(chunk)
        execute(actions[:EXECUTED])
        while len(sent) + delay < ticks:
            left_over = chunk[EXECUTED:]
            plan = {"inference_delay": delay, "prev_chunk_left_over": left_over} if method == "prefix" else {}
            next_chunk = pilot.chunk(look(), **plan)
            execute(actions[EXECUTED : EXECUTED + delay])  # while it is made
            borders.append(len(sent))
            chunk, actions = next_chunk, pilot.in_robot_units(next_chunk)
            execute(actions[delay:EXECUTED])
    wanted = EXECUTED + len(borders) * EXECUTED
    return Drive(pilot.scaled(torch.stack(sent)).double().numpy(), borders, gaps=wanted - len(sent))


def returns_whole_chunk(pilot: Pilot, seed: int, fps: int) -> bool:
    """Whether a chunk that is given entirely comes back, to the bit."""
    with make_robot(fps, seed) as robot:
        features = features_of(robot)
        seen = build_dataset_frame(features, robot.get_observation(), prefix=OBS_STR)
        known = {key: np.copy(value) for key, value in seen.items()}
        given = pilot.chunk(seen)
        horizon = pilot.policy.config.rtc_config
        pilot.policy.config.rtc_config = RTCConfig(execution_horizon=len(given))
        again = pilot.chunk(known, inference_delay=len(given), prev_chunk_left_over=given)
        pilot.policy.config.rtc_config = horizon
    return torch.equal(given, again)
