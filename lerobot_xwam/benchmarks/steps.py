"""LeRobot's RoboCasa environment <-> a policy of the universal interface, as steps of the policy's pipelines.

LeRobot has no hook for the environments of others, so checkpoints carry them: `--policy.benchmark=robocasa`
in training, and `lerobot-eval --env.type=robocasa` understands it. What is universal already passes, so the
same checkpoint trains and runs elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.lerobot_types import PolicyAction
from lerobot.processor import ObservationProcessorStep, PolicyActionProcessorStep, ProcessorStepRegistry
from lerobot.utils.constants import OBS_STATE
from torch import Tensor

from ..space.poses import ACTION, STATE
from . import robocasa

ROBOCASA = "robocasa"
# benchmark -> how many numbers its environment takes as an action, where a policy predicts another count
ENVIRONMENT_ACTION_DIMS = {ROBOCASA: robocasa.CONTROLLER_DIMS}
Features = dict[PipelineFeatureType, dict[str, PolicyFeature]]


@dataclass
@ProcessorStepRegistry.register(name="xwam_robocasa_state")
class RoboCasaStateStep(ObservationProcessorStep):
    """# B 16 of the environment -> B 8"""

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        state = observation.get(OBS_STATE)
        if state is None or state.shape[-1] == STATE:
            return observation
        if state.shape[-1] != robocasa.LEROBOT_STATE_DIMS:
            raise ValueError(
                f"{OBS_STATE}: {state.shape[-1]} numbers; benchmark 'robocasa' knows {STATE} (universal) and "
                f"{robocasa.LEROBOT_STATE_DIMS} (LeRobot's RoboCasa environment)"
            )
        return {**observation, OBS_STATE: _with_numpy(robocasa.state_from_lerobot, state)}

    def get_config(self) -> dict[str, Any]:
        return {}

    def transform_features(self, features: Features) -> Features:
        return features


@dataclass
@ProcessorStepRegistry.register(name="xwam_robocasa_action")
class RoboCasaActionStep(PolicyActionProcessorStep):
    """# B 7 -> B 12 of the environment"""

    def action(self, action: PolicyAction) -> PolicyAction:
        if action.shape[-1] == ACTION:
            return _with_numpy(robocasa.action_to_lerobot, action)
        return action

    def get_config(self) -> dict[str, Any]:
        return {}

    def transform_features(self, features: Features) -> Features:
        return features


def _with_numpy(convert: Any, values: Tensor) -> Tensor:
    converted = convert(values.detach().cpu().numpy().astype(np.float64))
    return torch.from_numpy(converted).to(values)
