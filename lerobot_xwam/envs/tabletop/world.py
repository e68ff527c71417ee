"""The kinematic world: arms on a column, cubes, grasping. No pictures, no observations.

World axes: x away from the arms, y to the left, z up, the table top at z = 0; metres and radians.
An arm is cylindrical: it turns about its column, reaches out, rides up and down and turns its wrist. The tool
frame sits between the fingertips; with all angles 0 its axes are the world's, leaned by TOOL_LEAN about y.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lerobot_xwam.envs.tabletop.geometry import wrap_angle
from lerobot_xwam.envs.tabletop.tasks import COLOURS, Task
from lerobot_xwam.space.poses import pose_matrix
from lerobot_xwam.space.rotations import Array, rotation_y, rotation_z

JOINTS = ("base_angle", "reach", "height", "wrist_angle", "gripper")
JOINT_LOW = np.array([-2.0, 0.15, 0.012, -np.pi, 0.0])
JOINT_HIGH = np.array([2.0, 0.65, 0.45, np.pi, 1.0])
JOINT_STEP = np.array([0.4, 0.08, 0.08, 0.8, 0.25])  # most a joint moves in one control step
GRIPPER = JOINTS.index("gripper")

TOOL_LEAN = -0.25  # the hand leans back to its column, so that no axis of the tool is a world axis
CUBE_SIZE = 0.06
OPEN_GAP = 0.10  # between the fingertips when gripper = 1
CUBE_IN_GRIPPER = CUBE_SIZE / OPEN_GAP  # gripper value at which the fingers touch a cube
GRASP_BELOW, RELEASE_ABOVE = 0.7, 0.85  # gripper values; apart, so that noise does not drop the cube
GRASP_NEAR = 0.03  # how far the cube's centre may lie from the tool's
FALL_STEP = 0.08
LIFTED = 0.12  # height of the cube's centre that counts as lifted


@dataclass
class Cube:
    """A coloured cube."""

    colour: str
    pose: Array  # 4 4


@dataclass
class Arm:
    """One arm: joint positions and what it carries."""

    side: str
    base: Array  # 2, where the column stands
    joints: Array  # 5, in the order of JOINTS
    carried: Cube | None = None
    carried_pose: Array = field(default_factory=lambda: np.eye(4))  # of the cube in the tool frame

    @property
    def gripper(self) -> float:
        """0 closed, 1 open."""
        return float(self.joints[GRIPPER])

    @property
    def tool_pose(self) -> Array:
        """Tool frame in the world.  # 4 4"""
        return self.tool_pose_at(self.joints)

    def tool_pose_at(self, joints: Array) -> Array:
        """Tool frame in the world for any joint positions.  # 5 -> 4 4"""
        angle, reach, height, wrist, _ = joints
        xy = self.base + reach * np.array([np.cos(angle), np.sin(angle)])
        return pose_matrix(rotation_z(angle + wrist) @ rotation_y(TOOL_LEAN), np.array([*xy, height]))

    def joints_for(self, tool_pose: Array, gripper: float) -> Array:
        """Joints that bring the tool to a pose. Lean and roll are not the arm's to give: only yaw counts."""
        away = tool_pose[:2, 3] - self.base
        angle = float(np.arctan2(away[1], away[0]))
        yaw = float(np.arctan2(-tool_pose[0, 1], tool_pose[1, 1]))
        reach = float(np.linalg.norm(away))
        return np.array([angle, reach, tool_pose[2, 3], wrap_angle(yaw - angle), gripper])


@dataclass
class World:
    """Arms and cubes, and what the instruction asks for."""

    task: Task
    instruction: str
    target: str  # colour of the cube to lift; the task with two arms wants both
    arms: list[Arm]
    cubes: list[Cube]

    def step(self, targets: list[Array]) -> None:
        """Move every arm towards its joint targets, within limits; carry, drop and grasp cubes."""
        for arm, target in zip(self.arms, targets, strict=True):
            _move(arm, target)
            _let_go_or_grasp(arm, self.cubes, taken=[other.carried for other in self.arms])
            if arm.carried is not None:
                arm.carried.pose = arm.tool_pose @ arm.carried_pose
        for cube in self.cubes:
            if all(arm.carried is not cube for arm in self.arms):
                _fall(cube)

    def is_success(self) -> bool:
        """Whether every cube that was asked for is up in the air."""
        return all(cube.pose[2, 3] > LIFTED for cube in self.cubes if self.is_wanted(cube))

    def is_wanted(self, cube: Cube) -> bool:
        """Whether the instruction asks to lift this cube."""
        return len(self.arms) > 1 or cube.colour == self.target

    def cube_for(self, arm: Arm) -> Cube:
        """The cube this arm has to lift: the named one, or with two arms the one at its side."""
        if len(self.arms) == 1:
            return next(cube for cube in self.cubes if cube.colour == self.target)
        outward = np.sign(arm.base[1])
        return max(self.cubes, key=lambda cube: float(outward * cube.pose[1, 3]))


def _move(arm: Arm, target: Array) -> None:
    low = JOINT_LOW.copy()
    if arm.carried is not None:
        low[GRIPPER] = CUBE_IN_GRIPPER
        # The cube hangs at a fixed height below or above the tool and must not sink into the table.
        offset = arm.carried.pose[2, 3] - arm.tool_pose[2, 3]
        low[JOINTS.index("height")] = max(low[JOINTS.index("height")], CUBE_SIZE / 2 - offset)
    wanted = np.clip(target, low, JOINT_HIGH)
    arm.joints = arm.joints + np.clip(wanted - arm.joints, -JOINT_STEP, JOINT_STEP)


def _let_go_or_grasp(arm: Arm, cubes: list[Cube], taken: list[Cube | None]) -> None:
    if arm.carried is not None:
        if arm.gripper > RELEASE_ABOVE:
            arm.carried = None
        return
    if arm.gripper > GRASP_BELOW:
        return
    tool = arm.tool_pose
    for cube in cubes:
        near = float(np.linalg.norm(cube.pose[:3, 3] - tool[:3, 3])) < GRASP_NEAR
        if near and all(cube is not other for other in taken):
            arm.carried = cube
            arm.carried_pose = np.linalg.inv(tool) @ cube.pose
            arm.joints[GRIPPER] = max(arm.gripper, CUBE_IN_GRIPPER)
            return


def _fall(cube: Cube) -> None:
    """Down by one step, and upright again on the table."""
    height = max(CUBE_SIZE / 2, cube.pose[2, 3] - FALL_STEP)
    heading = np.arctan2(cube.pose[1, 0], cube.pose[0, 0])
    cube.pose = pose_matrix(rotation_z(heading), np.array([*cube.pose[:2, 3], height]))


def random_world(task: Task, rng: np.random.Generator, target: str | None = None) -> World:
    """Cubes at random places, arms near their home, a random wording."""
    if target is not None and target not in COLOURS:
        raise ValueError(f"target: got {target!r}, the cubes are {' and '.join(COLOURS)}; name one of these.")
    drawn = COLOURS[
        int(rng.integers(len(COLOURS)))
    ]  # drawn also when given: the rest of the seed stays the same
    target = target or drawn
    instruction = task.instruction(target, rng)
    arms = [_arm_at_home(side, len(task.arms), rng) for side in task.arms]
    colours = [COLOURS[i] for i in rng.permutation(len(COLOURS))]
    places = _places_apart(rng) if len(arms) == 1 else _places_left_and_right(rng)
    cubes = [Cube(colour, _resting_pose(xy, rng)) for colour, xy in zip(colours, places, strict=True)]
    return World(task, instruction, target, arms, cubes)


def _arm_at_home(side: str, count: int, rng: np.random.Generator) -> Arm:
    sideways = 0.0 if count == 1 else (0.24 if side == "left" else -0.24)
    home = np.array([0.0, 0.27, 0.2, 0.0, 1.0])
    spread = np.array([0.25, 0.03, 0.03, 0.2, 0.0])
    joints = home + spread * rng.uniform(-1.0, 1.0, size=5)
    return Arm(side, np.array([-0.35, sideways]), joints)


def _places_apart(rng: np.random.Generator) -> list[Array]:
    low, high = np.array([-0.06, -0.18]), np.array([0.14, 0.18])
    while True:
        first, second = rng.uniform(low, high), rng.uniform(low, high)
        if np.linalg.norm(first - second) > 0.14:
            return [first, second]


def _places_left_and_right(rng: np.random.Generator) -> list[Array]:
    return [np.array([rng.uniform(-0.06, 0.14), side * rng.uniform(0.1, 0.26)]) for side in (1.0, -1.0)]


def _resting_pose(xy: Array, rng: np.random.Generator) -> Array:
    return pose_matrix(rotation_z(rng.uniform(-0.7, 0.7)), np.array([*xy, CUBE_SIZE / 2]))
