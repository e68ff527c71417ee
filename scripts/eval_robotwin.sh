#!/usr/bin/env bash
# Success rates of a checkpoint on RoboTwin 2.0, 50 tasks, clean and randomized: over the GPUs, resumable, with films and
# a table beside the paper's numbers.
#
#   scripts/eval_robotwin.sh --policy CHECKPOINT --gpus 0 1 2 3 --out outputs/robotwin-eval
#   scripts/eval_robotwin.sh --help        the settings
#
# RoboTwin itself and its assets have to be installed into the environment first, and its folder be on PYTHONPATH
# (kept here, unlike in the other scripts).   https://robotwin-platform.github.io
# XWAM_VENV=/path is an environment elsewhere that has it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

evaluate_benchmark robotwin "$@"
