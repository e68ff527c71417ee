#!/usr/bin/env bash
# Success rates of a checkpoint on RoboCasa, 24 tasks: over the GPUs, resumable, with films and
# a table beside the paper's numbers.
#
#   scripts/eval_robocasa.sh --policy CHECKPOINT --gpus 0 1 2 3 --out outputs/robocasa-eval
#   scripts/eval_robocasa.sh --help        the settings
#
# RoboCasa itself and its assets have to be installed into the environment first: it is on no package index.
#   https://github.com/robocasa/robocasa
# XWAM_VENV=/path is an environment elsewhere that has it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

evaluate_benchmark robocasa "$@"
