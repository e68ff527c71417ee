"""Files that are there when they are complete, and folders that one process writes at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Write beside the place, then rename: a killed process or a full disk leaves the old file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """The folder, made if need be and locked; yields its handle. A dead process holds no lock."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(
                f"{folder} is being written by another process; wait for it or stop it"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # network drives without locks
                raise
        yield handle
    finally:
        os.close(handle)


@contextmanager
def saying_what_is_kept(folder: Path, kept: Callable[[], str]) -> Iterator[None]:
    """On a full disk and on Ctrl-C: what is kept, and that the same command goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk of {folder.parent} is full. {kept()}; free some space and run the same command again, "
            "it goes on from there"
        ) from error
    except KeyboardInterrupt:
        print(f"{kept()}; the same command goes on from there", file=sys.stderr)
        raise
