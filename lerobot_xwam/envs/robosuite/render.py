"""RGB and depth in one pass, from an OpenGL context that is made current before it is used or freed.

robosuite's own render context is not used: one that is collected late frees objects of whichever context is
current, and pictures of another environment silently turn into uninitialised memory.
"""

from __future__ import annotations

import atexit
from typing import Any
from weakref import WeakSet, finalize

import numpy as np
from numpy.typing import NDArray

from lerobot_xwam.envs.robosuite.graphics import make_gl_context

_open: WeakSet[Renderer] = WeakSet()
COLLISION_GROUP = 0  # robosuite's group of the geoms that collide and are not to be seen


class Renderer:
    """Pictures of one model, up to a size in pixels."""

    def __init__(self, model: Any, height: int, width: int) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = model
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        model.vis.quality.offsamples = 0  # multi-sampling shifts depth by a fraction of a pixel
        model.vis.quality.shadowsize = 0  # no light casts shadows; the map would take 64 MB
        model.mat_reflectance[:] = 0.0  # every mirror would draw the scene once more
        self._gl: Any = make_gl_context(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        # Float depth is finest near zero: with the far plane there, it is exact at every distance.
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._free = finalize(self, _free, self._gl, self._context)
        self._free.atexit = False  # _close_all sees to that, in time
        _close_at_exit(self)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._options.geomgroup[COLLISION_GROUP] = 0
        self._options.sitegroup[:] = 0  # markers

    def render(
        self, data: Any, camera: int, height: int, width: int, depth: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """What the camera of that number sees: RGB (H W 3) and, if asked for, metres along its axis (H W)."""
        mujoco = self._mujoco
        if not self._free.alive:
            raise ValueError("The robosuite environment is closed; make a new one to render.")
        self._camera.fixedcamid = camera
        self._gl.make_current()  # another environment may have rendered in between
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, everything, self._scene)
        viewport = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        rgb = np.empty((height, width, 3), np.uint8)
        window = np.empty((height, width), np.float32) if depth else None
        mujoco.mjr_readPixels(rgb, window, viewport, self._context)
        # OpenGL's first row is the lowest one.
        return np.ascontiguousarray(rgb[::-1]), None if window is None else self._metres(window[::-1])

    def _metres(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth buffer (1 at the near plane, 0 at the far one) -> metres."""
        near = float(self._model.vis.map.znear * self._model.stat.extent)
        far = float(self._model.vis.map.zfar * self._model.stat.extent)
        return (near / (near / far + window.astype(np.float64) * (1.0 - near / far))).astype(np.float32)

    def close(self) -> None:
        """Free the OpenGL objects. May be called twice, or never: it happens when this is collected."""
        self._free()
        self._gl = self._context = None


def _free(gl: Any, context: Any) -> None:
    """Free a context's objects while it is current, for OpenGL numbers them alike in every context."""
    gl.make_current()
    context.free()
    gl.free()


def _close_at_exit(renderer: Renderer) -> None:
    if not _open:
        # Handlers run backwards: registered after the OpenGL library's own, ours comes first.
        atexit.unregister(_close_all)
        atexit.register(_close_all)
    _open.add(renderer)


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
