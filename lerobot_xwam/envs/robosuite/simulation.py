"""Builds robosuite environments, quietly, and says what is missing; robosuite is imported only then."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from lerobot_xwam.envs.robosuite.graphics import INSTALL_SYSTEM_PACKAGES, choose_backend
from lerobot_xwam.envs.robosuite.tasks import Task

INSTALL = "pip install 'lerobot_policy_xwam[robosuite]'"
CONTROL_RATE = 20  # Hz
MOVE_LIMIT = 0.05  # metres per step that a raw action of 1 asks for
TURN_LIMIT = 0.5  # radians per step
STIFFNESS = 150.0  # of both controllers, so that joint targets are followed as briskly as poses

LIFTED = 0.04  # metres above its rest that count as lifted
STILL = 0.01  # metres that the other cube may have moved up or down
REST_HEIGHTS = {"cubeA": 0.82, "cubeB": 0.825}  # of the red and the green cube's centre


@dataclass(frozen=True)
class Scene:
    """A robosuite environment and what it is built with."""

    environment: str
    sampler: str | None  # function of sampling.py; None keeps robosuite's own placement


SCENES = {
    "cubes": Scene("Stack", "cube_sampler"),
    "can": Scene("PickPlaceCan", None),  # anywhere in its bin
    "door": Scene("Door", "door_sampler"),
    "pot": Scene("TwoArmLift", "pot_sampler"),
}


def build_simulation(task: Task, joint_control: bool) -> Any:
    """robosuite's environment for a task, without its rendering. It is set to reset softly."""
    robosuite = import_robosuite()
    from lerobot_xwam.envs.robosuite import sampling

    scene = SCENES[task.scene]
    arguments: dict[str, Any] = {}
    if scene.sampler is not None:
        arguments["placement_initializer"] = vars(sampling)[scene.sampler]()
    if task.arm_count == 2:
        arguments["env_configuration"] = "opposed"
    with sampling.numpy_seed(0):  # building draws a first placement too
        return robosuite.make(
            scene.environment,
            robots=["Panda"] * task.arm_count,
            controller_configs=[_controller(joint_control)] * task.arm_count,
            control_freq=CONTROL_RATE,
            hard_reset=False,  # a new model would need new OpenGL objects
            ignore_done=True,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            **arguments,
        )


def import_robosuite() -> Any:
    """The robosuite package, without its notices."""
    choose_backend()
    logging.getLogger("robosuite_logs").addFilter(_only_errors)
    try:
        import mujoco
        import robosuite
    except ImportError as error:  # a missing package, or a system library that one of them wants
        raise ValueError(
            f"xwam_robosuite needs robosuite, which cannot be imported here ({error}). "
            f"Install it with `{INSTALL}`, and on Debian or Ubuntu its system libraries with "
            f"`{INSTALL_SYSTEM_PACKAGES} gcc linux-libc-dev` (the last two compile evdev, which it asks for)."
        ) from error
    del mujoco
    return robosuite


def is_success(task: Task, simulation: Any) -> bool:
    """Whether the task is done."""
    if task.name != "lift":
        return bool(simulation._check_success())
    heights = {name: float(simulation.sim.data.get_body_xpos(f"{name}_main")[2]) for name in REST_HEIGHTS}
    risen = {name: heights[name] - rest for name, rest in REST_HEIGHTS.items()}
    return risen["cubeA"] >= LIFTED and abs(risen["cubeB"]) < STILL


def _controller(joint_control: bool) -> dict[str, Any]:
    part: dict[str, Any] = {"kp": STIFFNESS, "damping_ratio": 1, "impedance_mode": "fixed"}
    if joint_control:
        part |= {"type": "JOINT_POSITION", "input_type": "absolute", "interpolation": None}
    else:
        limits = [MOVE_LIMIT] * 3 + [TURN_LIMIT] * 3
        part |= {"type": "OSC_POSE", "input_type": "delta", "input_ref_frame": "base", "interpolation": None}
        part |= {"output_max": limits, "output_min": [-limit for limit in limits], "uncouple_pos_ori": True}
        part |= {"position_limits": None, "orientation_limits": None}
    part |= {"input_max": 1, "input_min": -1, "gripper": {"type": "GRIP"}}
    return {"type": "BASIC", "body_parts": {"right": part}}  # robosuite calls the arm of a one-armed robot so


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
