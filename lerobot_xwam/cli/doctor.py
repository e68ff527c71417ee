r"""Look a dataset over before training: what would fail, and what would silently be learnt wrong.

Reads the numbers and decodes a few frames of every camera; the dataset is not touched. --out writes
doctor.png (a training window, depth in colour, the episode's curves), doctor.html (one page with everything)
and doctor.json.

Exit code: 0 no problems, 1 problems, 2 the dataset (or the policy) cannot be read, or nothing written.

Example:
  lerobot-xwam doctor me/so101-demos --out doctor
  lerobot-xwam doctor data/lift --preset tiny --json
  lerobot-xwam doctor data/lift --policy outputs/train/checkpoints/last/pretrained_model
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELP = "look a dataset over before training"
GOOD, PROBLEMS, UNREADABLE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="folder, or Hub id that was downloaded before")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", default="wan2.2-5b", help="of the policy to train (default wan2.2-5b)")
    source.add_argument("--config", type=Path, help="configuration of lerobot-train, e.g. configs/tiny.json")
    source.add_argument("--policy", help="checkpoint (folder or Hub id) that training goes on with")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a policy setting (repeatable)"
    )
    parser.add_argument("--out", type=Path, help="folder for doctor.png, doctor.html and doctor.json")
    parser.add_argument(
        "--skip", action="append", default=[], metavar="CHECK", help="leave a check out (repeatable)"
    )
    parser.add_argument(
        "--frames", type=int, default=1_000_000, metavar="N", help="numbers of at most so many (default 1e6)"
    )
    parser.add_argument("--all", action="store_true", help="also print what is fine")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    try:
        return _run(arguments)
    except (ValueError, OSError) as error:
        print(f"lerobot-xwam doctor: {error}", file=sys.stderr)
        return UNREADABLE


def _run(arguments: argparse.Namespace) -> int:
    from lerobot_xwam.doctor.command import Start, train_command
    from lerobot_xwam.doctor.dataset_folder import find
    from lerobot_xwam.doctor.examination import Report, examine, facts
    from lerobot_xwam.doctor.patient import admit
    from lerobot_xwam.doctor.words import as_text

    from .policy_settings import read_policy

    if arguments.frames < 1:
        raise ValueError(f"--frames {arguments.frames}: at least one must be read")
    root = find(arguments.dataset)
    if arguments.out:
        _require_writable(arguments.out, root)
    settings = read_policy(
        policy=arguments.policy, config=arguments.config, preset=arguments.preset, settings=arguments.set
    )
    patient = admit(root, settings, arguments.frames)
    findings = examine(patient, arguments.skip)
    start = Start(arguments.preset, arguments.policy, arguments.config, tuple(arguments.set))
    command = train_command(arguments.dataset, root, start, findings)
    report = Report(arguments.dataset, facts(patient), findings, command)
    if arguments.out:
        _write(report, patient, arguments.out)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print(as_text(report, everything=arguments.all))
        if arguments.out:
            print(f"\nreport: {arguments.out / 'doctor.html'}")
    return GOOD if report.healthy else PROBLEMS


def _require_writable(out: Path, root: Path) -> None:
    """Before minutes of reading; and never into the dataset."""
    inside = out.resolve()
    if inside == root.resolve() or root.resolve() in inside.parents:
        raise ValueError(
            f"--out {out}: lies inside of the dataset, which is not touched; choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)


def _write(report: object, patient: object, out: Path) -> None:
    import io

    from lerobot_xwam.doctor.drawing import draw
    from lerobot_xwam.doctor.examination import Report
    from lerobot_xwam.doctor.html import as_html
    from lerobot_xwam.doctor.patient import Patient
    from lerobot_xwam.doctor.words import summary
    from lerobot_xwam.files import appearing

    assert isinstance(report, Report) and isinstance(patient, Patient)
    memory = io.BytesIO()
    draw(patient, f"{report.name}: {summary(report)}").save(memory, format="PNG")
    contents = {
        "doctor.png": memory.getvalue(),
        "doctor.html": as_html(report, memory.getvalue()).encode(),
        "doctor.json": (json.dumps(report.as_json(), indent=2) + "\n").encode(),
    }
    for name, content in contents.items():
        with appearing(out / name) as temporary:
            temporary.write_bytes(content)
