"""A built simulation with its arms, cameras and renderer: half a gigabyte, built when first needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.envs.robosuite.arms import Arm
from lerobot_xwam.envs.robosuite.cameras import extrinsics, intrinsics, place_cameras
from lerobot_xwam.envs.robosuite.render import Renderer
from lerobot_xwam.envs.robosuite.sampling import numpy_seed
from lerobot_xwam.envs.robosuite.simulation import build_simulation, is_success
from lerobot_xwam.envs.robosuite.tasks import Task
from lerobot_xwam.space.rotations import Array


@dataclass(frozen=True)
class Picture:
    """What one camera sees."""

    rgb: NDArray[np.uint8]  # H W 3
    depth: NDArray[np.float32] | None  # H W, metres along the optical axis
    intrinsics: Array  # 3 3
    extrinsics: Array  # 4 4, camera to world


class World:
    """The state behind the pictures. Pictures can have up to the given size."""

    def __init__(self, task: Task, joint_control: bool, height: int, width: int) -> None:
        self.task = task
        self.simulation = build_simulation(task, joint_control)
        self.arms = [Arm(self.simulation, robot) for robot in self.simulation.robots]
        self._model, self._data = self.simulation.sim.model._model, self.simulation.sim.data._data
        self._cameras = place_cameras(self.simulation, task)
        self._renderer = Renderer(self._model, height, width)

    def reset(self, seed: int) -> None:
        """A new start; only softly, for a hard reset would need new OpenGL objects."""
        with numpy_seed(seed):
            self.simulation.reset()
        self._refresh()
        for arm in self.arms:
            arm.note_home()

    def step(self, controls: Array) -> None:
        """One control step with the vector that robosuite wants."""
        self.simulation.step(controls)
        self._refresh()

    def is_success(self) -> bool:
        """Whether the task is done."""
        return is_success(self.task, self.simulation)

    def picture(self, camera: str, size: tuple[int, int], depth: bool) -> Picture:
        """From the camera of that name (no alias), at (height, width)."""
        number = self._cameras[camera]
        rgb, metres = self._renderer.render(self._data, number, *size, depth)
        return Picture(rgb, metres, intrinsics(self._model, number, *size), extrinsics(self._data, number))

    def close(self) -> None:
        """Free the OpenGL objects."""
        self._renderer.close()

    def _refresh(self) -> None:
        """Bring poses up to date with the joints: robosuite leaves them one physics step behind."""
        import mujoco

        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
