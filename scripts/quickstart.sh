#!/usr/bin/env bash
# The shipped small X-WAM at work, on a CPU in minutes: sets up .venv, runs the model in the robosuite simulator with
# lerobot-eval, collects new demonstrations, shows what it imagines of them, and trains it a little with lerobot-train.
#
#   scripts/quickstart.sh               results in outputs/quickstart
#   scripts/quickstart.sh --help        the settings
#
# XWAM_VENV=/path puts the environment elsewhere; PYTHON=/path/to/python3.12 chooses the interpreter.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ensure_venv
ensure_graphics
exec "$VENV/bin/python" "$ROOT/scripts/quickstart.py" "$@"
