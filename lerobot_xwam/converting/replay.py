"""Stored MuJoCo states, put back into their model: where robot and cameras were, and what they saw.

Needs MuJoCo and the meshes and textures of robosuite (and RoboCasa, for its kitchens), but none of their
environments: a demonstration carries its model as XML, whose file paths are those of another machine.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..benchmarks.robocasa import FINGER_OPEN, state_from_world
from ..envs.robosuite.cameras import extrinsics, intrinsics
from ..envs.robosuite.render import Renderer
from ..envs.robosuite.simulation import import_robosuite
from ..space.poses import pose_matrix, side_by_side
from ..space.readings import BadEpisodeError, rotation_matrices
from ..space.rotations import Array
from .recording import Base, Pictures

PACKAGES = ("robosuite", "robocasa")
GRIP_SITE = re.compile(r"^gripper(\d+)_(?:(left|right)_)?grip_site$")
BASES = ("mobilebase{}_center", "robot{}_base")  # a site, or else a body
MODELS_KEPT = 2  # a kitchen takes hundreds of megabytes


@dataclass(frozen=True)
class Hand:
    site: int
    base: tuple[str, int] | None  # "site" or "body", and its number
    finger: int  # its place among the positions
    finger_open: float


@dataclass(frozen=True)
class Replay:
    """One model, and a row of its states."""

    model: Any
    hands: tuple[Hand, ...]  # left first
    where: str

    def states(self, rows: Array) -> tuple[Array, Array, Base]:
        """Flattened simulator states -> robot states, the frames they are in, how its base moved.
        # T n -> T 8|16, T 4 4
        """
        poses, frames = [], []
        for data in self._through(rows):
            frame = self._frame(data)
            frames.append(frame)
            poses.append([self._state(data, hand, frame) for hand in self.hands])
        rooms = np.array(frames)
        moved = np.linalg.norm(rooms[:, :3, 3] - rooms[0, :3, 3], axis=1).max()
        cosines = (np.einsum("ij,tij->t", rooms[0, :3, :3], rooms[:, :3, :3]) - 1) / 2
        turned = np.arccos(np.clip(cosines, -1, 1)).max()
        return side_by_side(np.array(poses)), rooms, Base(float(moved), float(turned))

    def cameras(self, rows: Array, frames: Array, size: tuple[int, int]) -> dict[str, tuple[Array, Array]]:
        """By name: intrinsics and where it was, in the given frames.  # 3 3, T 4 4"""
        names = self.camera_numbers()
        poses: dict[str, list[Array]] = {name: [] for name in names}
        for data, frame in zip(self._through(rows), frames, strict=True):
            back = np.linalg.inv(frame)
            for name, number in names.items():
                poses[name].append(back @ extrinsics(data, number))
        return {name: (intrinsics(self.model, names[name], *size), np.array(p)) for name, p in poses.items()}

    def pictures(self, rows: Array, streams: Sequence[str], size: tuple[int, int]) -> Iterator[Pictures]:
        numbers = self.camera_numbers()
        with closing(Renderer(self.model, *size)) as renderer:
            for data in self._through(rows):
                seen: Pictures = {}
                for name in dict.fromkeys(stream.removesuffix("_depth") for stream in streams):
                    rgb, depth = renderer.render(data, numbers[name], *size, f"{name}_depth" in streams)
                    seen[name] = rgb
                    if depth is not None:
                        seen[f"{name}_depth"] = depth[..., None]
                yield {stream: seen[stream] for stream in streams}

    def camera_numbers(self) -> dict[str, int]:
        import mujoco

        return dict(_named(self.model, mujoco.mjtObj.mjOBJ_CAMERA, self.model.ncam))

    def _through(self, rows: Array) -> Iterator[Any]:
        import mujoco

        model = self.model
        if rows.ndim != 2 or rows.shape[1] != 1 + model.nq + model.nv:
            raise BadEpisodeError(
                f"{self.where}: states of {rows.shape[-1]} numbers, its model has 1 (time) + {model.nq} "
                f"(positions) + {model.nv} (velocities)"
            )
        _refuse_stretched(model, rows, self.where)
        data = mujoco.MjData(model)
        for row in rows:
            data.time, data.qpos[:], data.qvel[:] = row[0], row[1 : 1 + model.nq], row[1 + model.nq :]
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_camlight(model, data)
            yield data

    def _frame(self, data: Any) -> Array:
        """One robot: its base. Several: the world, for theirs differ.  # 4 4"""
        base = self.hands[0].base
        if base is None or any(hand.base != base for hand in self.hands):
            return np.eye(4)
        kind, number = base
        position, rotation = (data.site_xpos, data.site_xmat) if kind == "site" else (data.xpos, data.xmat)
        return pose_matrix(rotation[number].reshape(3, 3), position[number])

    def _state(self, data: Any, hand: Hand, frame: Array) -> Array:
        return state_from_world(
            data.site_xpos[hand.site],
            data.site_xmat[hand.site].reshape(3, 3),
            frame[:3, 3],
            frame[:3, :3],
            abs(float(data.qpos[hand.finger])),
            hand.finger_open,
        )


def open_replay(xml: str, where: str) -> Replay:
    """The model of a demonstration. It is kept for the next, for many demonstrations share one."""
    import_robosuite()  # says what to install, and chooses how to render before MuJoCo is imported
    here = relocated(xml, where)
    try:
        model = _compiled(here)
    except ValueError as error:
        raise BadEpisodeError(f"{where}: its model cannot be loaded ({error})") from error
    return Replay(model, _hands(model, where), where)


@lru_cache(maxsize=MODELS_KEPT)
def _compiled(xml: str) -> Any:
    import mujoco

    return mujoco.MjModel.from_xml_string(xml)


def relocated(xml: str, where: str) -> str:
    """The model with the meshes and textures of the packages installed here."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise BadEpisodeError(f"{where}: model_file is no XML ({error})") from error
    for part in root.iter():
        file = part.get("file")
        if file is None:
            continue
        folders = file.replace("\\", "/").split("/")
        known = [i for i, folder in enumerate(folders[:-1]) if folder in PACKAGES]
        if known:
            package = folders[known[-1]]
            part.set("file", str(_package(package, where).joinpath(*folders[known[-1] + 1 :])))
    return ElementTree.tostring(root, encoding="unicode")


def _package(name: str, where: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"{where}: its model wants the meshes of {name}, which is not installed here. Install it, or "
            "convert without replay if the file holds pictures"
        )
    return Path(next(iter(found.submodule_search_locations)))


def _hands(model: Any, where: str) -> tuple[Hand, ...]:
    import mujoco

    sites = dict(_named(model, mujoco.mjtObj.mjOBJ_SITE, model.nsite))
    matches = [match for name in sites if (match := GRIP_SITE.match(name))]
    matches.sort(key=lambda match: (int(match[1]), match[2] != "left"))
    if not 1 <= len(matches) <= 2:
        raise BadEpisodeError(f"{where}: {len(matches)} grippers in the model, wanted one or two")
    bodies = dict(_named(model, mujoco.mjtObj.mjOBJ_BODY, model.nbody))
    return tuple(
        Hand(sites[match[0]], _base(match[1], sites, bodies), *_finger(model, match[0], where))
        for match in matches
    )


def _base(robot: str, sites: dict[str, int], bodies: dict[str, int]) -> tuple[str, int] | None:
    site, body = (name.format(robot) for name in BASES)
    if site in sites:
        return "site", sites[site]
    return ("body", bodies[body]) if body in bodies else None


def _finger(model: Any, site: str, where: str) -> tuple[int, float]:
    """-> the first finger's place among the positions, and its position when open"""
    import mujoco

    prefix = site.removesuffix("grip_site")
    joints = dict(_named(model, mujoco.mjtObj.mjOBJ_JOINT, model.njnt))
    number = joints.get(f"{prefix}finger_joint1")
    if number is None or abs(model.jnt_range[number][1] - FINGER_OPEN) > 1e-3:
        raise BadEpisodeError(
            f"{where}: the gripper is not Panda's, the only one whose opening is known; its joints are "
            f"{[name for name in joints if name.startswith(prefix)]}"
        )
    return int(model.jnt_qposadr[number]), float(model.jnt_range[number][1])


def _refuse_stretched(model: Any, rows: Array, where: str) -> None:
    """Objects that lie about have quaternions among the positions, which MuJoCo would silently normalise."""
    import mujoco

    kinds = mujoco.mjtJoint
    for number in range(model.njnt):
        if (kind := model.jnt_type[number]) in (kinds.mjJNT_FREE, kinds.mjJNT_BALL):
            begin = 1 + int(model.jnt_qposadr[number]) + (3 if kind == kinds.mjJNT_FREE else 0)
            joint = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, number)
            rotation_matrices(rows[:, begin : begin + 4], "quaternion_wxyz", f"{where}: states of {joint}")


def _named(model: Any, kind: Any, count: int) -> Iterator[tuple[str, int]]:
    import mujoco

    for number in range(count):
        yield mujoco.mj_id2name(model, kind, number) or "", number
