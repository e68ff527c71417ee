"""Which OpenGL to render with (MUJOCO_GL), and what to install if there is none."""

from __future__ import annotations

import ctypes.util
import os
import sys
from collections.abc import Callable
from typing import Any

SYSTEM_PACKAGES = "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libgles2 libosmesa6"
INSTALL_SYSTEM_PACKAGES = f"sudo apt install {SYSTEM_PACKAGES}"
BACKENDS = ("egl", "osmesa")


def choose_backend() -> str:
    """The value of MUJOCO_GL, set if it was not: a GPU's EGL, else OSMesa, else Mesa's EGL.

    Must run before robosuite is imported: it writes "egl" into MUJOCO_GL unless that says otherwise.
    """
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if not chosen and sys.platform == "linux":
        # Without a GPU, OSMesa and EGL draw with the same software; OSMesa skips the display connection.
        has_gpu = os.path.exists("/dev/nvidia0") or os.path.exists("/dev/dri/renderD128")
        chosen = "osmesa" if not has_gpu and ctypes.util.find_library("OSMesa") else "egl"
        os.environ["MUJOCO_GL"] = chosen
    return chosen


def make_gl_context(width: int, height: int) -> Any:
    """An OpenGL context of the chosen backend, not yet current."""
    backend = choose_backend()
    # Mesa's software renderer splits such small pictures over all cores and waits for the slowest: with other
    # work on them, collecting took 8 s per episode instead of 3.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        return _context_class(backend)(width, height)
    except Exception as error:  # PyOpenGL fails in many ways, depending on what lacks
        raise ValueError(
            f"rendering: OpenGL does not work with MUJOCO_GL={backend!r} "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}). "
            f"On Debian or Ubuntu install the libraries with `{INSTALL_SYSTEM_PACKAGES}`, or choose the "
            f"other backend with MUJOCO_GL=osmesa or MUJOCO_GL=egl (PYOPENGL_PLATFORM unset or the same)."
        ) from error


def check_graphics() -> None:
    """Complain if pictures cannot be rendered here."""
    make_gl_context(16, 16).free()


def _context_class(backend: str) -> Callable[[int, int], Any]:
    if sys.platform == "linux":
        if backend == "egl":
            from mujoco.egl import GLContext as EGLContext

            return EGLContext
        if backend == "osmesa":
            from mujoco.osmesa import GLContext as OSMesaContext

            return OSMesaContext
        raise ValueError(f"wanted one of {BACKENDS}")
    from mujoco import GLContext

    return GLContext
