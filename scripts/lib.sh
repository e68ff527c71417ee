# shellcheck shell=bash
# Sourced by the other scripts: finds a Python and makes the environment, once.
#
#   ensure_venv         makes or updates $VENV (default .venv, or $XWAM_VENV); returns at once when nothing changed
#   evaluate_benchmark  what eval_robocasa.sh and eval_robotwin.sh are
#
# Works with bash 3.2 (macOS) and without uv, root rights or an activated environment.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${XWAM_VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac
SETUP_LOG="$VENV.log"
STAMP="$VENV/.xwam-installed"  # fingerprint of what is installed; written last, removed first
OURS="$VENV/.xwam-made-here"   # only an environment with this file is ever deleted

# A sourced ROS or another project's settings would otherwise leak packages and pytest plugins into ours.
USERS_PYTHONPATH="${PYTHONPATH:-}"
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '[xwam] %s\n' "$*"; }
warn() { printf '[xwam] warning: %s\n' "$*" >&2; }
die() { # message, then lines of advice
  printf '[xwam] error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '         %s\n' "$line" >&2; done
  exit 1
}

# ---------------------------------------------------------------- which Python

# What is wrong with this interpreter: prints "ok 3.12", "old 3.11", or the reason why it is of no use; nothing if
# it does not run at all (pyenv's shims exist for versions that are not switched on).
probe_python() {
  "$1" -I -c '
import platform, sys
version = "%d.%d" % sys.version_info[:2]
if not ((3, 12) <= sys.version_info[:2] < (3, 14)) or platform.python_implementation() != "CPython":
    print("old", version); sys.exit()
missing = []
for name in ("ssl", "ctypes", "bz2", "lzma", "sqlite3", "venv", "ensurepip"):
    try: __import__(name)
    except ImportError: missing.append(name)
import sysconfig
if sysconfig.get_config_var("Py_GIL_DISABLED"): print("free-threaded", version)
elif missing: print("lacks", *missing)
else: print("ok", version)
' 2>/dev/null || true
}

# Every place where a Python 3.$1 may live, best first, one per line.
python_candidates() {
  local minor="$1" found
  command -v "python3.$minor" || true
  for found in python3 python; do command -v "$found" || true; done
  # pyenv keeps versions that its shims do not reach
  for found in "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python3 \
    "$HOME/.local/bin/python3.$minor" "$HOME/.local/share/uv/python/cpython-3.$minor".*/bin/python3 \
    /usr/local/bin/python3."$minor" /usr/bin/python3."$minor" /opt/*/bin/python3."$minor" \
    /opt/homebrew/opt/python@3."$minor"/bin/python3."$minor"; do
    printf '%s\n' "$found"
  done
  if command -v uv >/dev/null; then uv python find --no-project "3.$minor" 2>/dev/null || true; fi
}

# Sets PYTHON_FOUND. 3.12 is preferred because the pins were tested with it.
find_python() {
  local minor candidate verdict defective=""
  if [ -n "${PYTHON:-}" ]; then
    verdict="$(probe_python "$PYTHON")"
    case "$verdict" in
      ok*) PYTHON_FOUND="$(command -v "$PYTHON")" && return ;;
      *) die "PYTHON=$PYTHON cannot be used (${verdict:-it does not run}): wanted a complete CPython 3.12 or 3.13." \
        "Unset PYTHON to let this script look for one, or point it at another interpreter." ;;
    esac
  fi
  for minor in 12 13; do
    while IFS= read -r candidate; do
      [ -x "$candidate" ] || continue
      verdict="$(probe_python "$candidate")"
      case "$verdict" in
        "ok 3.$minor") PYTHON_FOUND="$candidate" && return ;;
        lacks* | free-threaded*) defective="$candidate $verdict" ;;
      esac
    done < <(python_candidates "$minor")
  done
  case "$defective" in
    "") die "no Python 3.12 found (LeRobot needs 3.12 or newer; 'python3' here is $(python3 -V 2>&1 | tail -n 1))." \
      "Any one of these gives one; then run this script again:" \
      "  uv       uv python install 3.12" \
      "  pyenv    pyenv install 3.12" \
      "  conda    conda create -n xwam python=3.12 && conda activate xwam" \
      "  Ubuntu   sudo apt install python3.12 python3.12-venv    (24.04; Debian 12 has 3.11 only)" \
      "  macOS    brew install python@3.12" \
      "One in an unusual place: PYTHON=/path/to/python3.12 bash scripts/$(basename "$0")" ;;
    *" lacks venv"* | *" ensurepip"*) die "the Python found cannot make environments: $defective." \
      "Debian/Ubuntu keep that in a package of its own: sudo apt install python3.12-venv" ;;
    *) die "the Python found is incomplete: $defective." \
      "A Python compiled without system headers (pyenv) lacks such modules: install libssl-dev, libffi-dev," \
      "libbz2-dev, liblzma-dev and libsqlite3-dev, then 'pyenv install --force 3.12'. Or: uv python install 3.12" ;;
  esac
}

# ---------------------------------------------------------------- the environment

# Changes when anything that decides what must be installed changes (the folder too: editable installs hold its path).
fingerprint() { # python
  "$1" -I -c '
import hashlib, pathlib, platform, sys
root = pathlib.Path(sys.argv[1])
parts = [platform.python_version(), str(root), *(root.joinpath(f).read_text() for f in sys.argv[2:])]
print(hashlib.sha256("\0".join(parts).encode()).hexdigest())
' "$ROOT" pyproject.toml constraints.txt 2>/dev/null
}

is_current() {
  [ -f "$STAMP" ] && [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP")" = "$(fingerprint "$VENV/bin/python")" ]
}

# Runs a command with its output in the log and a sign of life on the screen. Returns the command's status.
with_sign_of_life() { # text command...
  local text="$1" start=$SECONDS pid status=0 now last="" next=30
  shift
  "$@" >>"$SETUP_LOG" 2>&1 &
  pid=$!
  echo "$pid" >"$VENV.lock/pid" # should this script be killed, the next one waits for the orphan to end
  trap 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; exit 130' INT TERM HUP
  while kill -0 "$pid" 2>/dev/null; do
    now=$((SECONDS - start))
    if [ -t 1 ]; then
      last="$(grep -E '^ *(Downloading|Downloaded|Building|Built|Installing|Collecting|Prepared)' "$SETUP_LOG" | tail -n 1 | cut -c1-60 || true)"
      printf '\r\033[K[xwam] %s %d s  %s' "$text" "$now" "${last#"${last%%[! ]*}"}"
      sleep 0.5
    else
      if [ "$now" -ge "$next" ]; then say "$text still at it after $now s" && next=$((next + 30)); fi
      sleep 1
    fi
  done
  if [ -t 1 ]; then printf '\r\033[K'; fi
  trap - INT TERM HUP
  wait "$pid" || status=$?
  echo $$ >"$VENV.lock/pid"
  return "$status"
}

advise_and_die() { # what failed
  local advice="The whole log explains more; running this script again starts afresh from pip's cache."
  if grep -qiE 'no space left|errno 28|disk quota' "$SETUP_LOG"; then
    advice="The disk is full: about 8 GB are needed in $VENV, some more for pip's cache in $HOME."
  elif grep -qiE 'name resolution|failed to establish|network is unreachable|connection (refused|reset|timed out|error)|dns error|timed out|proxyerror' "$SETUP_LOG"; then
    advice="No connection to the package index: check network and proxy. Offline, point PIP_FIND_LINKS at a folder of wheels and set PIP_NO_INDEX=1."
  elif grep -qiE 'certificate' "$SETUP_LOG"; then
    advice="TLS certificates: behind a company proxy set PIP_CERT (or SSL_CERT_FILE) to its certificate."
  elif grep -qiE 'no matching distribution|resolutionimpossible' "$SETUP_LOG"; then
    advice="A pinned version is not to be had for this platform or mirror; relax its line in constraints.txt."
  elif grep -qiE 'permission denied' "$SETUP_LOG"; then
    advice="No right to write to $VENV: choose another place with XWAM_VENV=/some/folder."
  fi
  tail -n 20 "$SETUP_LOG" | cut -c1-300 >&2 || true
  die "$1 failed (the end of its log is above, all of it in $SETUP_LOG)." "$advice"
}

free_gb() { # folder (or its nearest parent that exists)
  local folder="$1"
  while [ ! -d "$folder" ]; do folder="$(dirname "$folder")"; done
  df -Pk "$folder" | awk 'NR == 2 { printf "%d", $4 / 1048576 }'
}

clear_up() { rm -rf "$VENV.lock" "$VENV/tmp"; }

take_lock() { # one set-up at a time; a lock whose owner is gone is taken over
  local owner waited=no
  mkdir -p "$(dirname "$VENV")"
  until mkdir "$VENV.lock" 2>/dev/null; do
    sleep 1 # also gives a fresh owner the time to write its number
    owner="$(cat "$VENV.lock/pid" 2>/dev/null || true)"
    if [ -z "$owner" ] || ! kill -0 "$owner" 2>/dev/null; then
      rm -rf "$VENV.lock"
    elif [ "$waited" = no ]; then
      say "waiting for another set-up (process $owner) ..."
      waited=yes
    fi
  done
  echo $$ >"$VENV.lock/pid"
  trap clear_up EXIT
}

make_venv() {
  if [ -e "$VENV" ] && [ ! -f "$OURS" ] && [ ! -f "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV")" ]; then
    die "$VENV exists and is no Python environment." "Move it away, or choose another place with XWAM_VENV."
  fi
  if [ -f "$OURS" ] && { [ ! -f "$STAMP" ] || [ -z "$(fingerprint "$VENV/bin/python")" ]; }; then
    say "the environment is unfinished or broken: starting afresh"
    rm -rf "$VENV"
  elif [ -f "$VENV/pyvenv.cfg" ]; then
    case "$(probe_python "$VENV/bin/python")" in
      ok*) say "updating the environment $VENV" && return ;;
      *) die "$VENV is an environment without a working Python 3.12." \
        "It was not made by this script, so it stays: remove it, or choose another place with XWAM_VENV." ;;
    esac
  fi
  find_python
  say "making $VENV with $("$PYTHON_FOUND" -V) ($PYTHON_FOUND)"
  mkdir -p "$VENV"
  : >"$OURS"
  echo '*' >"$VENV/.gitignore" # wherever XWAM_VENV puts it, git and ruff need not look inside
  with_sign_of_life "making the environment ..." "$PYTHON_FOUND" -m venv "$VENV" || advise_and_die "making $VENV"
}

install_packages() {
  local -x TMPDIR="$VENV/tmp" # pip unpacks gigabytes: not in a small /tmp, and a killed pip leaves them behind
  mkdir -p "$TMPDIR"
  install_with_pins "the packages" -e "${ROOT}[dev]"
  # Alone, for it also asks for a keyboard driver that must be compiled and for a second OpenCV that would overwrite
  # the first one's files. What it really needs is in [dev].
  install_with_pins "robosuite" --no-deps robosuite
}

install_with_pins() { # what (in words), then pip's arguments
  local what="$1" pins="$ROOT/constraints.txt"
  shift
  if command -v uv >/dev/null; then
    with_sign_of_life "installing $what with uv ..." uv pip install --compile-bytecode --python "$VENV/bin/python" -c "$pins" "$@" && return
    say "uv could not; trying with pip, which also reads pip's own settings"
    : >"$SETUP_LOG"
  fi
  with_sign_of_life "installing $what ..." "$VENV/bin/python" -m pip install --progress-bar off -c "$pins" "$@" ||
    advise_and_die "installing $what"
}

# ---------------------------------------------------------------- packages of the system

GRAPHICS="libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libgles2 libosmesa6"

ensure_graphics() { ensure_packages "OpenGL libraries" "robosuite fails" "$GRAPHICS"; }

# For the tests of the pages only: about 100 MB. Without any Chromium these tests are skipped.
ensure_browser() {
  local name
  for name in chromium-headless-shell chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then return 0; fi
  done
  ensure_packages "a browser" "pages are not tested" chromium-headless-shell
}

# Installs Debian's packages if one is missing and that can be done without asking; else says how.
ensure_packages() { # what, what happens without, package names
  local sudo="" missing
  if [ "$(uname -s)" != Linux ] || ! command -v dpkg-query >/dev/null; then return 0; fi
  missing="$(missing_packages "$3")"
  if [ -z "$missing" ]; then return 0; fi
  if [ "$(id -u)" -ne 0 ]; then sudo="sudo -n"; fi
  if { [ -z "$sudo" ] || $sudo true 2>/dev/null; } && command -v apt-get >/dev/null; then
    say "installing $1: $missing"
    # shellcheck disable=SC2086  # words on purpose
    if { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } \
      >"$SETUP_LOG.apt" 2>&1 </dev/null; then return 0; fi
    warn "apt-get could not (log: $SETUP_LOG.apt)"
  fi
  warn "without $1 $2; by hand: sudo apt install $missing"
}

missing_packages() { # those of $1 that are not installed, on one line
  local package
  for package in $1; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
  done
}

ensure_venv() {
  local free start=$SECONDS
  if is_current; then return; fi
  take_lock
  if is_current; then clear_up && return; fi # another process has just done it
  : >"$SETUP_LOG"
  free="$(free_gb "$VENV")"
  if [ "$free" -lt 8 ]; then warn "only $free GB free at $VENV; PyTorch and LeRobot need about 8 GB"; fi
  make_venv
  rm -f "$STAMP"
  say "installing X-WAM with LeRobot and PyTorch: several GB the first time, a few minutes (log: $SETUP_LOG)"
  install_packages
  fingerprint "$VENV/bin/python" >"$STAMP.new"
  mv "$STAMP.new" "$STAMP"
  clear_up
  trap - EXIT
  say "ready after $((SECONDS - start)) s"
}

# ---------------------------------------------------------------- evaluation on others' benchmarks

# Their simulators are on no package index: the user's PYTHONPATH is kept, for that is where they may be.
evaluate_benchmark() { # name, then the options
  local benchmark="$1" word
  shift
  for word in "$@"; do
    case "$word" in
      --) break ;;
      -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
        if ! is_current; then exit 0; fi # its --help is no reason to install gigabytes
        ;;
    esac
  done
  ensure_venv
  ensure_graphics
  if [ -n "$USERS_PYTHONPATH" ]; then export PYTHONPATH="$USERS_PYTHONPATH"; fi
  exec "$VENV/bin/python" "$ROOT/scripts/benchmark_table.py" "$benchmark" "$@"
}
