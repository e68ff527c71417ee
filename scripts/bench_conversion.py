"""How fast and in how much memory a release converts, at the full 5 B layout.

Writes a synthetic release (38.9 GB on paper, a few MB on disk) into a folder, converts it in a process of its
own under a memory limit of the operating system, and reports GB/s and peak memory. `--back` converts the
result to the official layout again and compares every byte of the network. Everything is removed at the end.

    python scripts/bench_conversion.py /somewhere/with/14/GB --limit-gb 8
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

SCRIPTS = Path(__file__).parent
CONFIG = SCRIPTS.parent / "tests" / "golden" / "official_layout_ckpt" / "config.yaml"

# Runs in the process under the limit: what it was told, and what it took.
MEASURED = """
import json, resource, sys, time
from lerobot_xwam.cli.main import main
start = time.monotonic()
code = main(sys.argv[2:])
took = time.monotonic() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
json.dump({"code": code, "seconds": took, "peak": peak}, open(sys.argv[1], "w"))
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("place", type=Path, help="folder on a disk with room for the results")
    parser.add_argument("--limit-gb", type=float, default=8.0, help="memory of the conversion (default 8)")
    parser.add_argument("--blocks", type=int, default=30, help="fewer: a smaller file (default 30)")
    parser.add_argument("--wan", action="store_true", help="convert Wan2.2 instead of a release")
    parser.add_argument("--codecs", action="store_true", help="write VAE and text encoder, too (26 GB more)")
    parser.add_argument("--back", action="store_true", help="also convert back and compare (13 GB more)")
    arguments = parser.parse_args()
    arguments.place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-conversion-", dir=arguments.place))
    try:
        return bench(folder, arguments)
    finally:
        shutil.rmtree(folder)


def bench(folder: Path, arguments: argparse.Namespace) -> int:
    from synthetic_release import write_release, write_wan

    from lerobot_xwam.model.sizes import TransformerSizes
    from lerobot_xwam.weights.official_layout import read_official

    blocks = arguments.blocks
    sizes = replace(TransformerSizes(), blocks=blocks, depth_blocks=min(10, blocks))
    if arguments.wan:
        wan = write_wan(folder / "wan", sizes)
        command = ["convert-wan", str(wan), "--out", str(folder / "base")]
        command += ["--depth-blocks", str(sizes.depth_blocks)]
        measured(command, folder, arguments.limit_gb, [folder / "base"])
        return 0
    release = write_release(folder / "release", sizes, CONFIG.read_text(encoding="utf-8"), encoders=True)
    size, on_disk = release.stat().st_size / 1e9, release.stat().st_blocks * 512 / 1e6
    print(f"release: {size:.1f} GB, on disk {on_disk:.0f} MB", flush=True)

    start = time.monotonic()
    read_official(release)
    print(f"its table of tensors: {time.monotonic() - start:.1f} s")

    ours = folder / "ours"
    codecs = ["--codecs-out", str(folder / "codecs")] if arguments.codecs else []
    command = ["convert-official", str(folder / "release"), "--out", str(ours), *codecs]
    measured(command, folder, arguments.limit_gb, [ours, folder / "codecs"])
    if arguments.back:
        back = folder / "back"
        command = ["convert-official", str(ours), "--out", str(back), "--to-official"]
        measured(command, folder, arguments.limit_gb, [back])
        compare(read_official(release).network, read_official(next(back.glob("**/*.pt"))).network)
    return 0


def measured(command: list[str], folder: Path, limit_gb: float, written: list[Path]) -> None:
    def limit() -> None:
        size = int(limit_gb * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    result = folder / "measured.json"
    print("$ lerobot-xwam", *command, flush=True)
    subprocess.run([sys.executable, "-c", MEASURED, str(result), *command], preexec_fn=limit, check=True)
    took = json.loads(result.read_text())
    if took["code"]:
        raise SystemExit(f"the conversion failed with {took['code']}")
    size = sum(path.stat().st_size for root in written for path in root.glob("**/*") if path.is_file()) / 1e9
    print(
        f"{size:.2f} GB written in {took['seconds']:.0f} s: {size / took['seconds']:.2f} GB/s; "
        f"peak memory {took['peak'] / 1e9:.2f} GB, under a limit of {limit_gb:g} GB of address space"
    )


def compare(there: dict, back: dict) -> None:
    assert there.keys() == back.keys()
    for name, stored in there.items():
        assert stored.dtype == back[name].dtype and stored.shape == back[name].shape, name
        for one, other in zip(stored.pieces(), back[name].pieces(), strict=True):
            assert one == other, name
    print(f"{len(there)} tensors of the network came back bit by bit")


if __name__ == "__main__":
    sys.exit(main())
