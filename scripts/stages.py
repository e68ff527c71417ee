"""Runs the stages of the quickstart: all output into a log, one line of progress on the screen."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# tqdm's `label:  40%|####      | 120/300 [00:30<00:45, 4.0step/s]`, with whatever was printed behind it
BAR = re.compile(
    r"^(?P<label>[^:|]+):.*?(?P<done>\d+)/(?P<of>\d+) \[[^<]*<(?P<left>[\d:]+|\?)[^\]]*\]?(?P<rest>.*)"
)
QUIET_S = 30.0  # on no terminal: a line of progress this often


@dataclass(frozen=True)
class Stage:
    """One command, the file that exists when it is done, and the folder that is the command's own: it starts
    empty. None: the command goes on with what is there."""

    name: str
    doing: str
    command: tuple[str, ...]
    result: Path
    folder: Path | None
    bar: str  # label of the progress bar that tells how far it is


class StageFailed(Exception):
    """Says which, how and where to read on."""


def run(stage: Stage, position: str, log: Path) -> None:
    """Run it, with all its output in the log and one line on the screen."""
    if stage.folder is not None:
        shutil.rmtree(stage.folder, ignore_errors=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    start, progress = time.monotonic(), Progress(f"{position} {stage.doing}")
    tail: deque[str] = deque(maxlen=20)
    with log.open("w", encoding="utf-8") as file:
        file.write(f"$ {shlex.join(stage.command)}\n\n")
        process = subprocess.Popen(
            stage.command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,  # so that its workers can be stopped with it
        )
        try:
            for piece in pieces(process):
                bar = BAR.match(piece)
                if bar and bar["label"].startswith(stage.bar):
                    progress.at(bar["done"], bar["of"], bar["left"])
                text = bar["rest"] if bar else piece
                if text.strip():
                    tail.append(text)
                    file.write(text + "\n")
                    file.flush()
                progress.show(time.monotonic() - start)
        finally:
            stop(process)
            progress.clear()
    took = clock(time.monotonic() - start)
    if process.returncode == 0 and stage.result.exists():
        say(f"{position} {stage.doing}: done in {took}")
        return
    reason = (
        f"exit code {process.returncode}" if process.returncode else f"no {nice(stage.result)} was written"
    )
    end = "".join(f"    {line}\n" for line in tail)
    raise StageFailed(
        f"{end}[xwam] {position} {stage.doing} failed after {took} ({reason}).\n"
        f"[xwam] The end of its log is above, all of it in {nice(log)}."
    )


def to_the_end(work: Callable[[], None]) -> int:
    """Work that consists of stages. -> the exit status. Whoever stops it, no stage is left running."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 130
    except (StageFailed, ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def stop(process: subprocess.Popen[bytes]) -> None:
    """If it still runs: let it and its workers clean up as after Ctrl-C; those who will not are killed."""
    for harder in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, harder)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
    process.wait()


def environment() -> dict[str, str]:
    """The tiny preset needs no download, and small networks no more threads than there are idle cores."""
    threads = str(min(4, max(1, (os.cpu_count() or 2) // 2)))
    defaults = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return {**defaults, **os.environ}


def pieces(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The output in lines, where a progress bar's carriage return ends a line too; "" when silent."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    rest = ""
    while True:
        ended = process.poll() is not None  # asked before reading, so that nothing written before is lost
        chunk = process.stdout.read()
        if chunk:
            *lines, rest = re.split(r"[\r\n]+", rest + chunk.decode("utf-8", errors="replace"))
            yield from lines
            # a bar is redrawn with the \r in front: the unfinished piece is the newest state
            if BAR.match(rest):
                yield rest
        elif ended:
            yield rest
            return
        else:
            yield ""
            time.sleep(0.2)


class Progress:
    """One line that is rewritten on a terminal, and now and then a line elsewhere."""

    def __init__(self, text: str) -> None:
        self.text, self.detail, self.shown = text, "", 0.0
        self.terminal = sys.stdout.isatty()

    def at(self, done: str, of: str, left: str) -> None:
        self.detail = f"{done}/{of}" + ("" if left == "?" else f", {left} left")

    def show(self, seconds: float) -> None:
        if seconds - self.shown < (0.2 if self.terminal else QUIET_S):
            return
        self.shown = seconds
        line = f"[xwam] {self.text} ... {clock(seconds)}" + (f" ({self.detail})" if self.detail else "")
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", flush=True)
        else:
            print(line, flush=True)

    def clear(self) -> None:
        if self.terminal:
            print("\r\033[K", end="", flush=True)


def say(text: str) -> None:
    print(f"[xwam] {text}", flush=True)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def nice(path: Path) -> str:
    """Relative to where the user stands, if it is below that."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
