"""World state and looks -> primitives to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lerobot_xwam.envs.tabletop.render import Box, Room, Solid, Sphere
from lerobot_xwam.envs.tabletop.shading import Light, Scene
from lerobot_xwam.envs.tabletop.world import CUBE_SIZE, OPEN_GAP, Arm, World
from lerobot_xwam.space.rotations import Array, rotation_z

CUBE_COLOURS = {"red": np.array([0.86, 0.13, 0.11]), "blue": np.array([0.10, 0.30, 0.88])}
METAL, DARK = np.array([0.78, 0.80, 0.83]), np.array([0.20, 0.22, 0.26])
FINGER, JOINT = np.array([0.98, 0.74, 0.12]), np.array([0.30, 0.33, 0.38])
ARM_COLOURS = {"left": np.array([0.93, 0.93, 0.90]), "right": np.array([0.62, 0.66, 0.70])}
LEVEL = np.eye(3)


@dataclass(frozen=True)
class Looks:
    """What may differ from episode to episode without touching the geometry."""

    table: Array
    mat: Array
    walls: Array
    floor: Array
    light: Array


def random_looks(rng: np.random.Generator) -> Looks:
    """Mild variety of colours and of the light's direction; red and blue stay the cubes' own."""

    def tint(colour: list[float], amount: float) -> Array:
        hue, brightness = rng.uniform(-1, 1, size=3), rng.uniform(-1, 1)
        return np.clip(np.array(colour) + amount * (hue + brightness), 0, 1)

    towards = np.array([rng.uniform(-0.2, 0.5), rng.uniform(-0.5, 0.5), 1.0])
    return Looks(
        table=tint([0.76, 0.60, 0.43], 0.04),
        mat=tint([0.50, 0.62, 0.52], 0.05),
        walls=tint([0.70, 0.76, 0.82], 0.05),
        floor=tint([0.42, 0.40, 0.40], 0.04),
        light=towards / np.linalg.norm(towards),
    )


def build_scene(world: World, looks: Looks) -> Scene:
    """All primitives of the world as it stands now."""
    solids: list[Solid] = [
        _box([0.02, 0.0, -0.02], [0.52, 0.50, 0.02], looks.table, paint="table"),
        _box([0.02, 0.0, -0.32], [0.30, 0.28, 0.28], looks.table * 0.7),
    ]
    for cube in world.cubes:
        colour = CUBE_COLOURS[cube.colour]
        solids.append(Box(cube.pose[:3, 3], np.full(3, CUBE_SIZE / 2), cube.pose[:3, :3], colour))
    for arm in world.arms:
        solids.extend(_arm_solids(arm))
    return Scene(
        room=Room(np.array([-1.25, -1.25, -0.6]), np.array([1.25, 1.25, 1.4]), looks.walls, looks.floor),
        solids=solids,
        light=Light(looks.light),
        mat_colour=looks.mat,
        mat_low=np.array([-0.16, -0.34]),
        mat_high=np.array([0.28, 0.34]),
    )


def _box(centre: list[float], half: list[float], colour: Array, paint: str = "plain") -> Box:
    return Box(np.array(centre), np.array(half), LEVEL, colour, paint)


def _arm_solids(arm: Arm) -> list[Solid]:
    tool, base, colour = arm.tool_pose, arm.base, ARM_COLOURS[arm.side]
    rotation = tool[:3, :3]

    def in_tool(centre: list[float], half: list[float], shade: Array) -> Box:
        return Box(tool[:3, 3] + rotation @ np.array(centre), np.array(half), rotation, shade)

    wrist = tool[:3, 3] + rotation @ np.array([0.0, 0.0, 0.125])
    away = wrist[:2] - base
    turn = rotation_z(float(np.arctan2(away[1], away[0])))
    boom_middle = np.array([*(base + away / 2), wrist[2]])
    boom_half = np.array([float(np.linalg.norm(away)) / 2, 0.018, 0.018])
    shoulder = np.array([*base, wrist[2]])
    finger = OPEN_GAP / 2 * arm.gripper + 0.009
    return [
        _box([*base, 0.012], [0.07, 0.07, 0.012], DARK),
        _box([*base, 0.32], [0.028, 0.028, 0.30], colour),
        Box(shoulder, np.array([0.048, 0.048, 0.04]), turn, JOINT),
        Box(boom_middle, boom_half, turn, colour),
        Sphere(wrist, 0.03, JOINT),
        in_tool([0.0, 0.0, 0.088], [0.022, 0.066, 0.014], METAL),
        in_tool([0.0, finger, 0.026], [0.013, 0.009, 0.05], FINGER),
        in_tool([0.0, -finger, 0.026], [0.013, 0.009, 0.05], FINGER),
    ]
