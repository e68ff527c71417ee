#!/usr/bin/env python3
"""Compare our mathematics with numbers recorded from the official X-WAM.

    scripts/compare_with_reference.py GOLDEN_DIR
    scripts/compare_with_reference.py GOLDEN_DIR --only forward train.ans --json result.json

GOLDEN_DIR holds config.json, xwam_model.safetensors and any of the recordings described in its README; all
sizes are read from it. Prints one row per case. Exit status: 0 all within tolerance, 1 at least one is not
(or our project lacks what it needs), 2 the folder is not of this kind or holds nothing that was chosen.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever else is installed


def main() -> int:
    args = parse_arguments()
    started = time.monotonic()
    print("loading torch, diffusers and transformers ...", file=sys.stderr)
    # Only now: they take seconds, and --help should not.
    import torch
    from reference.compare import compare_folder
    from reference.folder import GoldenFolder, NotGoldenError
    from reference.report import explanations, summary, table, write_json

    torch.set_num_threads(1)  # toy tensors: more threads only wait for each other
    try:
        outcomes = compare_folder(GoldenFolder(args.golden_dir), args.only)
    except NotGoldenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not any(outcome.status in ("PASS", "FAIL") for outcome in outcomes):
        wanted = f" named {' '.join(args.only)}" if args.only else ""
        print(f"error: {args.golden_dir} holds no recording{wanted} to compare with", file=sys.stderr)
        return 2

    print(table(outcomes))
    if problems := explanations(outcomes):
        print(f"\n{problems}")
    print(f"\n{summary(outcomes, time.monotonic() - started)}")
    if args.json:
        write_json(outcomes, args.json)
    return int(any(outcome.status == "FAIL" for outcome in outcomes))


def parse_arguments() -> argparse.Namespace:
    head, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=head, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("golden_dir", type=Path, metavar="GOLDEN_DIR")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="recordings or cases, e.g. train.ans"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every measured number")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
