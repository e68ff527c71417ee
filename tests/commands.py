"""LeRobot's commands as the tests call them: in a process of their own, or in this one.

    python tests/commands.py LOSSES.jsonl <options of lerobot-train>

is lerobot-train that also writes every loss to full precision, which its log lines round.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

from draccus.wrappers import docstring
from toys import SMALL, World, dataset_root

BIN = Path(sys.executable).parent
# draccus reads the source of a whole class for the help of each of its options, in every run anew
_help_of_option = functools.cache(docstring.get_attribute_docstring)


def run(*command: str | Path, fails: bool = False, timeout: float = 170, **env: str) -> str:
    """Output of a command that must succeed (or, with `fails`, must not)."""
    process = subprocess.Popen(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # and what it started
        raise
    assert (process.returncode != 0) == fails, (
        f"{command[0]} returned {process.returncode}:\n{output[-4000:]}"
    )
    return output


def lerobot(command: str, *options: str | Path, **kwargs: Any) -> str:
    """A LeRobot command; it finds the policy only if this project is installed (scripts/test.sh does it)."""
    assert metadata.version("lerobot_policy_xwam")
    return run(BIN / f"lerobot-{command}", *options, **kwargs)


def policy_options(**settings: Any) -> list[str]:
    """The small policy of toys.py, as options."""
    merged = {"type": "xwam", **SMALL, **settings}
    return [f"--policy.{name}={_text(value)}" for name, value in merged.items() if value is not None]


def train_options(world: World, output: Path, *more: str, policy: list[str] | None = None) -> list[str]:
    return [
        *(policy_options() if policy is None else policy),
        "--dataset.repo_id=local/toy",
        f"--dataset.root={dataset_root(world)}",
        "--dataset.video_backend=pyav",
        f"--output_dir={output}",
        "--num_workers=0",
        "--env_eval_freq=0",
        "--log_freq=1",
        "--wandb.enable=false",
        *more,
    ]


def checkpoint(output: Path, step: int) -> Path:
    return output / "checkpoints" / f"{step:06d}" / "pretrained_model"


def train_here(*options: str) -> list[float]:
    """lerobot-train in this process. -> the loss of every step, exactly"""
    losses: list[float] = []
    with _as_command("lerobot-train", *options):
        _train(losses.append)
    return losses


def eval_here(*options: str) -> None:
    """lerobot-eval in this process."""
    from lerobot.scripts import lerobot_eval

    with _as_command("lerobot-eval", *options):
        lerobot_eval.main()


@contextmanager
def _as_command(name: str, *options: str) -> Iterator[None]:
    from accelerate.state import AcceleratorState

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with (
            patch.object(sys, "argv", [name, *map(str, options)]),
            patch.object(docstring, "get_attribute_docstring", _help_of_option),
        ):
            yield
    finally:
        root.handlers, root.level = handlers, level  # LeRobot takes the root logger for itself
        AcceleratorState._reset_state(reset_partial_state=True)


def _train(report: Any) -> None:
    from lerobot.scripts import lerobot_train

    original = lerobot_train.update_policy

    def spied(*args: Any, **kwargs: Any) -> Any:
        tracker, logs = original(*args, **kwargs)
        report(tracker.loss.val)
        return tracker, logs

    with patch.object(lerobot_train, "update_policy", spied):
        lerobot_train.main()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _main() -> None:
    path = Path(f"{sys.argv.pop(1)}.{os.environ.get('RANK', 0)}")
    losses: list[float] = []
    _train(losses.append)
    path.write_text(json.dumps(losses))


if __name__ == "__main__":
    _main()
