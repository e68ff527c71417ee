"""How fast and in how much memory datasets are converted, for each layout of the source.

Writes a synthetic source (three cameras), converts it in a process of its own with that many workers, and
reports episodes/s and frames/s by the clock, CPU seconds (which a busy machine does not change), and peak
memory. Everything is removed at the end.

    python scripts/bench_datasets.py --layout robotwin authors --episodes 8 --frames 100 --workers 2
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from synthetic_sources import WRITERS

# Runs in the process that converts: workers are its children, their peak is that of the largest one.
MEASURED = """
import json, resource, sys, time
from lerobot_xwam.cli.main import main
import lerobot_xwam.converting.convert
start, used = time.monotonic(), time.process_time()
code = main(sys.argv[2:])
took = time.monotonic() - start
own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
cpu = time.process_time() - used + children.ru_utime + children.ru_stime
peaks = [each.ru_maxrss / 1e6 for each in (own, children)]
json.dump({"code": code, "seconds": took, "cpu": cpu, "peaks_gb": peaks}, open(sys.argv[1], "w"))
"""


@dataclass(frozen=True)
class Measured:
    layout: str
    episodes: int
    frames: int
    seconds: float
    cpu: float
    parent_gb: float
    worker_gb: float
    written_mb: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layout", nargs="+", choices=list(WRITERS), default=list(WRITERS), help="all")
    parser.add_argument("--episodes", type=int, default=8, help="default 8")
    parser.add_argument("--frames", type=int, default=100, help="of each episode (default 100)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"), help="of the source"
    )
    parser.add_argument(
        "--to", type=int, nargs=2, default=(256, 320), metavar=("H", "W"), help="of the result"
    )
    parser.add_argument("--workers", type=int, default=2, help="default 2")
    parser.add_argument("--place", type=Path, help="folder to work in (default: the system's)")
    arguments = parser.parse_args()
    found = []
    for layout in arguments.layout:
        with tempfile.TemporaryDirectory(prefix="bench-datasets-", dir=arguments.place) as folder:
            found.append(bench(layout, Path(folder), arguments))
        print(as_markdown(found[-1:]), flush=True)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {arguments.workers} worker(s):")
    print(as_markdown(found))
    return 0


def bench(layout: str, folder: Path, arguments: argparse.Namespace) -> Measured:
    print(f"writing a source of layout {layout} ...", flush=True)
    source, out = folder / "source", folder / "out"
    options = WRITERS[layout](source, arguments.episodes, arguments.frames, tuple(arguments.size))
    command = ["convert-dataset", *options, f"--source={source}", f"--out={out}", "--verify=1"]
    command += ["--size", *map(str, arguments.to), f"--workers={arguments.workers}"]
    command += [f"--shard={max(1, arguments.episodes // arguments.workers // 2)}"]
    print("$ lerobot-xwam", *command, flush=True)
    result = folder / "measured.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", MEASURED, str(result), *command], check=True, env=environment)
    took = json.loads(result.read_text())
    if took["code"]:
        raise SystemExit(f"the conversion failed with {took['code']}")
    about = json.loads((out / "meta" / "converted.json").read_text())
    return Measured(
        layout=layout,
        episodes=len(about["episodes"]),
        frames=sum(episode["frames"] for episode in about["episodes"]),
        seconds=took["seconds"],
        cpu=took["cpu"],
        parent_gb=took["peaks_gb"][0],
        worker_gb=took["peaks_gb"][1] if arguments.workers > 1 else took["peaks_gb"][0],
        written_mb=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6,
    )


def as_markdown(found: list[Measured]) -> str:
    head = "layout | episodes | frames | s | episodes/s | frames/s | CPU s | CPU s per episode"
    lines = [f"| {head} | GB of the parent | GB of a worker | MB written |", f"|{'---|' * 11}"]
    lines += [
        f"| {each.layout} | {each.episodes} | {each.frames} | {each.seconds:.0f} | "
        f"{each.episodes / each.seconds:.3f} | {each.frames / each.seconds:.1f} | {each.cpu:.0f} | "
        f"{each.cpu / each.episodes:.2f} | {each.parent_gb:.2f} | {each.worker_gb:.2f} | "
        f"{each.written_mb:.0f} |"
        for each in found
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
