"""A folder that appears when it is complete: written beside its place, then renamed.

A process that is killed leaves `.NAME.partial`; the next run finds it, says so and starts it anew. A lock,
which the system drops with the process that held it, tells a dead run from a running one.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import held

MARGIN = 16 * 2**20  # bytes for tables, configurations and the file system's own use

logger = logging.getLogger(__name__)


@contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of `folder` at the end, or vanishes on an error."""
    refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.partial"
    with held(partial) as handle:
        if any(partial.iterdir()):
            logger.warning("%s was left by a run that was stopped; it is removed and written anew", partial)
            _empty(partial)
        try:
            yield partial
            refuse_existing(folder)
            os.fsync(handle)
            os.rename(partial, folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                f"the disk of {folder.parent} is full; nothing was left there. Free some space or choose "
                "another place with --out"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # gone already if all went well


def refuse_existing(folder: Path) -> None:
    if os.path.lexists(folder):
        raise FileExistsError(
            f"{folder} exists already; nothing is overwritten. Remove it or choose another name"
        )


def require_space(wanted: dict[Path, int]) -> None:
    """Folders that will be written and their bytes: refuse now what could not be finished."""
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in wanted.items():
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        disk = there.stat().st_dev
        _, before = disks.get(disk, (there, MARGIN))
        disks[disk] = there, before + size
    for there, size in disks.values():
        free = shutil.disk_usage(there).free
        if size > free:
            raise OSError(
                f"{size / 1e9:.2f} GB are needed, the disk of {there} has {free / 1e9:.2f} GB free. "
                "Nothing was written; free some space or choose another place with --out"
            )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
