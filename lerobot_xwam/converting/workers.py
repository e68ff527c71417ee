"""Processes that write shards, and that end with the process that started them, even if that was killed.

A worker whose parent is killed would go on for ever, waiting for the next job, and write beside the run that
takes over.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait


def pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes: encoders' threads and LeRobot's imports do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)


def end_with_parent() -> None:
    """For a process of multiprocessing's: a thread waits for the end of its parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not started by multiprocessing"

    def watch() -> None:
        wait([parent.sentinel])  # the system closes it, however the parent ends
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
