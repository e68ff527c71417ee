#!/usr/bin/env python3
"""Compare our mathematics with numbers recorded from the official X-WAM.

    scripts/compare_with_reference.py GOLDEN_DIR
    scripts/compare_with_reference.py GOLDEN_DIR --only forward train.ans --json result.json

GOLDEN_DIR holds config.json, xwam_model.safetensors and any of the recordings described in its README; all sizes
are read from it. Prints one row per case. Exit status: 0 all within tolerance, 1 at least one is not (or our project
lacks what it needs), 2 the folder is not of this kind or nothing was chosen.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever else is installed

import torch
from reference.compare import chosen, find_cases
from reference.folder import GoldenFolder, NotGoldenError
from reference.measure import run_case
from reference.report import explanations, summary, table, write_json
from tqdm import tqdm


def main() -> int:
    args = parse_arguments()
    torch.set_num_threads(min(torch.get_num_threads(), 2))  # tiny tensors: more threads only wait for each other
    started = time.monotonic()
    try:
        folder = GoldenFolder(args.golden_dir)
        cases, outcomes = find_cases(folder)
    except NotGoldenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cases = [case for case in cases if chosen(case.name, args.only)]
    outcomes = [outcome for outcome in outcomes if chosen(outcome.name, args.only)]
    if not cases and not any(outcome.status == "FAIL" for outcome in outcomes):
        wanted = f" named {' '.join(args.only)}" if args.only else ""
        print(f"error: {args.golden_dir} holds no recording{wanted} to compare with", file=sys.stderr)
        return 2

    done = []
    with tqdm(cases, unit="case", file=sys.stderr, leave=False, disable=None) as progress:
        for case in progress:
            progress.set_description(case.name)
            done.append(run_case(case))
    outcomes = done + outcomes

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
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="recordings or cases, e.g. train.ans")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every measured number")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
