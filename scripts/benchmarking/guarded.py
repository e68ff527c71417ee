"""Runs a command that ends with the process that asked for it, even if that one is killed.

    python guarded.py PIPE COMMAND ...

PIPE is the end to read from of a pipe whose other end the asking process holds and never writes to: the
system closes it when that process is gone, and then everything in this process's group is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # they reach the command too, and it decides when it ends

    def watch() -> None:
        os.read(pipe, 1)
        os.killpg(0, signal.SIGKILL)

    process = subprocess.Popen(command)
    threading.Thread(target=watch, daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
