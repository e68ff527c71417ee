"""A task in which a plan must not be dropped half-way: the tabletop arm past three posts, inside or outside.

The arm of the tabletop world swings from one end of the table to the other; three posts stand in its way, and
touching one is the end. Demonstrations go straight at a post and then pass on either side with equal chance,
drawn anew for every post: both are right, half of each is a crash, and until the turn nothing tells which it
will be. Everything is in the state (joints, and how far round the nearest post is); the picture is grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lerobot_xwam.envs.tabletop.tasks import get_task
from lerobot_xwam.envs.tabletop.world import JOINTS, Arm, World

Floats = NDArray[np.float32]

ANGLES = (1.0, 0.0, -1.0)  # of the arm's base, where the posts stand: rad
ACTION = tuple(f"{joint}.pos" for joint in JOINTS)
STATE = (*ACTION, "post.pos")
CAMERA = "observation.images.front"
SIZE, GREY = 16, 0.5  # pixels, and how bright they are
BASE = np.array([-0.35, 0.0])
REACH = 0.40  # of the posts, and of the straight way: m
RADIUS = 0.05  # of a post and the tool: m
CLEAR = (0.115, 0.135)  # how far from a post's middle demonstrations pass: m
START, GOAL, NEAR = 1.6, -1.6, 0.06  # base angle: rad
SPEED = (0.058, 0.062)  # rad per control step
TURN, PASS = 0.40, 0.12  # before a post: when the turn begins, and when it is over: rad
PLACES = BASE + REACH * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)  # of the posts: posts 2
SHAKEN = np.array([0.006, 0.006])  # demonstrations are disturbed, so that the way back is shown: rad, m
LONGEST = 90  # control steps
TASK = "go round the posts"


@dataclass
class Scene:
    """One episode."""

    world: World
    steps: int = 0
    crashed: bool = False

    @classmethod
    def drawn(cls, seed: int) -> Scene:
        rng = np.random.default_rng(seed)
        start = START + rng.uniform(-0.1, 0.1), REACH + rng.uniform(-0.01, 0.01)
        arm = Arm("left", BASE.copy(), np.array([*start, 0.1, 0.0, 0.0]))
        return cls(World(get_task("lift"), TASK, "red", [arm], cubes=[]))

    @property
    def joints(self) -> NDArray[np.float64]:
        return self.world.arms[0].joints

    @property
    def state(self) -> Floats:
        return seen(self.joints[None])[0]

    @property
    def succeeded(self) -> bool:
        return not self.crashed and bool(self.joints[0] < GOAL + NEAR)

    @property
    def over(self) -> bool:
        return self.crashed or self.succeeded or self.steps >= LONGEST

    def observation(self) -> dict[str, Any]:
        """As a robot would give it, without a batch."""
        grey = torch.full((3, SIZE, SIZE), GREY)
        return {CAMERA: grey, "observation.state": torch.from_numpy(self.state), "task": TASK}

    def step(self, target: Floats) -> None:
        if self.over:
            return
        before = self.world.arms[0].tool_pose[:2, 3]
        self.world.step([np.where(np.isfinite(target), target, self.joints).astype(np.float64)])
        after = self.world.arms[0].tool_pose[:2, 3]
        self.steps += 1
        between = np.linspace(before, after, 5)  # nothing is jumped over
        self.crashed = bool((np.linalg.norm(between[:, None] - PLACES, axis=-1) < RADIUS).any())


def seen(joints: NDArray[np.float64]) -> Floats:
    """States.  # T 5 -> T 6"""
    away = joints[:, :1] - np.array(ANGLES)  # T posts
    nearest = np.take_along_axis(away, np.abs(away).argmin(axis=1, keepdims=True), axis=1)
    return np.concatenate([joints, nearest], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Demonstration:
    """One way past the posts, and where the arm really was."""

    targets: Floats  # T 5, of the arm's joints; the first is where it starts
    states: Floats  # T 6


def demonstration(seed: int) -> Demonstration:
    rng = np.random.default_rng([seed, 1])  # not the scene's: from it nobody must be able to tell the sides
    scene = Scene.drawn(seed)
    sides = rng.choice([-1.0, 1.0], size=len(ANGLES))
    clear = REACH + sides * rng.uniform(*CLEAR, size=len(ANGLES))
    corners = [(scene.joints[0], scene.joints[1])]
    for angle, reach in zip(ANGLES, clear, strict=True):
        corners += [
            (angle + TURN, REACH),
            (angle + PASS, reach),
            (angle - PASS, reach),
            (angle - TURN, REACH),
        ]
    corners.append((GOAL, REACH))
    angle = np.arange(scene.joints[0], GOAL - 0.05, -rng.uniform(*SPEED))
    targets = np.repeat(scene.joints[None], len(angle), axis=0)
    targets[:, 0], targets[:, 1] = angle, _eased(np.array(corners), angle)
    was = targets.copy()
    was[:, :2] += SHAKEN * rng.uniform(-1, 1, size=(len(angle), 2))
    return Demonstration(targets.astype(np.float32), seen(was))


def _eased(corners: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A path through the corners without a kink: reach eased between them, angle as it comes."""
    falling = corners[:, 0]
    part = np.clip(np.searchsorted(-falling, -at, side="right") - 1, 0, len(falling) - 2)
    share = np.clip((falling[part] - at) / (falling[part] - falling[part + 1]), 0, 1)
    ease = share**3 * (10 - 15 * share + 6 * share**2)
    return corners[part, 1] + (corners[part + 1, 1] - corners[part, 1]) * ease
