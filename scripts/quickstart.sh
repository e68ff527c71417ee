#!/usr/bin/env bash
# From nothing to a trained toy X-WAM in minutes, on a CPU: sets up .venv, makes a small RGB-D data set, trains the
# `tiny` preset with lerobot-train, runs it in simulation with lerobot-eval and shows what it imagines beside what is.
#
#   scripts/quickstart.sh               results in outputs/quickstart
#   scripts/quickstart.sh --help        the settings
#
# XWAM_VENV=/path puts the environment elsewhere; PYTHON=/path/to/python3.12 chooses the interpreter.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ensure_venv
exec "$VENV/bin/python" "$ROOT/scripts/quickstart.py" "$@"
