"""RoboCasa's PandaOmron <-> the universal interface: one arm, seen from the robot's base.

The state is the gripper site's pose in the frame of the robot's base, its axes turned by 90 degrees about its
own z. That is how the body "right_hand" is turned, whose orientation robosuite calls `base_to_eef_quat`: what
comes from LeRobot's environment is turned already. Actions are the controller's, whose gripper closes at +1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..data.authors_layout.clips import from_controller
from ..space.poses import ACTION, FrameChange, arm_state
from ..space.rotations import Array, matrix_from_quaternion, rotation_z

CAMERAS = ("robot0_agentview_left", "robot0_agentview_right", "robot0_eye_in_hand")
TOOL = FrameChange(tool=rotation_z(np.pi / 2))  # of the gripper site
FINGER_OPEN = 0.04  # metres: where the Panda's finger joint ends
CONTROLLER_DIMS = 12
LEROBOT_STATE_DIMS = 16  # base x y z, base quaternion, hand x y z and quaternion in the base, two fingers
HAND_XYZ, HAND_QUATERNION, FINGER = slice(7, 10), slice(10, 14), 14
LEROBOT_ARM = slice(5, 12)  # of base motion 4, control mode 1, xyz 3, axis-angle 3, gripper 1

MAX_STEPS = {
    "PnPCounterToCab": 500,
    "PnPCabToCounter": 500,
    "PnPCounterToSink": 700,
    "PnPSinkToCounter": 500,
    "PnPCounterToMicrowave": 600,
    "PnPMicrowaveToCounter": 500,
    "PnPCounterToStove": 500,
    "PnPStoveToCounter": 500,
    "OpenSingleDoor": 500,
    "CloseSingleDoor": 500,
    "OpenDoubleDoor": 1000,
    "CloseDoubleDoor": 700,
    "OpenDrawer": 500,
    "CloseDrawer": 500,
    "TurnOnStove": 500,
    "TurnOffStove": 500,
    "TurnOnSinkFaucet": 500,
    "TurnOffSinkFaucet": 500,
    "TurnSinkSpout": 500,
    "CoffeeSetupMug": 600,
    "CoffeeServeMug": 600,
    "CoffeePressButton": 300,
    "TurnOnMicrowave": 500,
    "TurnOffMicrowave": 500,
}
LAYOUTS_AND_STYLES = ((1, 1), (2, 2), (4, 4), (6, 9), (7, 10))
OBJECT_SPLIT = "B"


def state_from_world(
    site_position: ArrayLike,  # 3
    site_rotation: ArrayLike,  # 3 3
    base_position: ArrayLike,  # 3
    base_rotation: ArrayLike,  # 3 3
    finger: float,  # joint position of the first finger
    finger_open: float = FINGER_OPEN,  # the largest its actuator is told
) -> Array:
    """What the simulator says of itself -> state.  # 8"""
    state = arm_state(site_position, site_rotation, float(finger) / float(finger_open))
    return TOOL.state(FrameChange.into(base_position, base_rotation).state(state))


def state_from_lerobot(vector: ArrayLike) -> Array:
    """The state of LeRobot's RoboCasa environment, whose quaternions are x y z w.  # ... 16 -> ... 8"""
    vector = np.asarray(vector, dtype=np.float64)
    hand = matrix_from_quaternion(np.roll(vector[..., HAND_QUATERNION], 1, axis=-1))
    return arm_state(vector[..., HAND_XYZ], hand, vector[..., FINGER] / FINGER_OPEN)


def action_to_controller(action: ArrayLike) -> Array:
    """The controller's numbers: arm, gripper, and a base, torso and mode that rest.  # ... 7 -> ... 12"""
    arm = from_controller(action)  # its own inverse
    rest = np.zeros((*arm.shape[:-1], CONTROLLER_DIMS - ACTION))
    return np.concatenate([arm, rest], axis=-1)


def action_to_lerobot(action: ArrayLike) -> Array:
    """The action of LeRobot's environment, whose gripper is 0 open, 1 closed.  # ... 7 -> ... 12"""
    action = np.asarray(action, dtype=np.float64)
    result = np.zeros((*action.shape[:-1], CONTROLLER_DIMS))
    result[..., LEROBOT_ARM] = action
    result[..., -1] = (1 - action[..., -1]) / 2
    return result


def upright(rendered: ArrayLike) -> np.ndarray:
    """MuJoCo renders bottom row first.  # ... H W 3"""
    return np.asarray(rendered)[..., ::-1, :, :]
