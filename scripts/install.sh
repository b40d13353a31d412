#!/usr/bin/env bash
# Creates .venv and installs the project into it, with the build of torch that suits this machine.
#
#   scripts/install.sh                      (what `make setup` runs)
#   PYTHON=python3.12 scripts/install.sh    another interpreter, for a new .venv
#   TORCH=cuda scripts/install.sh           auto: CUDA where an NVIDIA driver answers, else CPU | cpu | cuda
#   PIP_OPTIONS="--no-cache-dir" ...        handed to `pip install`
#   EXTRAS= scripts/install.sh              of pyproject.toml: dev, which the tests need, or none
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
TORCH=${TORCH:-auto}
PIP_OPTIONS=${PIP_OPTIONS:-}
EXTRAS=${EXTRAS-dev}
cpu_index=https://download.pytorch.org/whl/cpu # PyTorch's own wheels without CUDA
venv_python=.venv/bin/python

say() { printf 'install: %s\n' "$*"; }
stop() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

# ---- the arguments
case $TORCH in
  cpu | cuda) build=$TORCH ;;
  auto) if nvidia-smi -L >/dev/null 2>&1; then build=cuda; else build=cpu; fi ;;
  *) stop "TORCH=$TORCH is unknown; allowed are auto, cpu and cuda" ;;
esac

# ---- the interpreter: a working .venv is kept, with whatever Python it has
if ! "$venv_python" -m pip --version >/dev/null 2>&1; then
  python_version=$("$PYTHON" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
    stop "PYTHON=$PYTHON does not run; Frontpage needs Python 3.11, 3.12 or 3.13, e.g. make setup PYTHON=python3.12"
  "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
    stop "PYTHON=$PYTHON is Python $python_version; Frontpage needs 3.11, 3.12 or 3.13, e.g. make setup PYTHON=python3.12"
  if [ -f .venv/pyvenv.cfg ]; then say "the .venv that is there does not run pip (those that uv makes have none); it is made anew"; fi
  say "creating .venv with Python $python_version"
  "$PYTHON" -m venv --clear .venv
fi

# ---- the build of torch
# The newest torch that pip can see for this Python and platform, within the range of constraints.txt (2.10 to 2.13).
# $1 is cpu (builds named "+cpu" only) or cuda (all others); further arguments go to pip. Prints nothing if there is none.
newest_torch() {
  local wanted=$1 versions
  shift
  versions=$("$venv_python" -m pip --disable-pip-version-check index versions torch "$@" 2>/dev/null |
    sed -n 's/^Available versions: //p' | tr -d ' ' | tr ',' '\n' | grep -E '^2\.1[0-3]\.' || true)
  case $wanted in
    cpu) grep -E '\+cpu$' <<<"$versions" ;;
    cuda) grep -vE '\+cpu' <<<"$versions" ;;
  esac | head -n 1 || true
}

# The wheel for Linux in the Python Package Index is a CUDA build of several gigabytes; other systems have one build only.
# pip is told the exact version, since a range would keep the build that is there already when TORCH changes.
torch=()
if [ "$(uname -s)" = Linux ]; then
  if [ "$build" = cuda ]; then
    version=$(newest_torch cuda)
    # Three equal signs: with two, "2.13.0" would accept "2.13.0+cpu" as well.
    [ -z "$version" ] || torch=("torch===$version")
  else
    # Where pip's own configuration (a company's mirror, a folder of wheels) has a CPU build, that one is taken:
    # such a machine may not reach PyTorch's server.
    version=$(newest_torch cpu)
    if [ -z "$version" ]; then
      torch=(--extra-index-url "$cpu_index")
      version=$(newest_torch cpu "${torch[@]}" --retries 1 --timeout 15)
    fi
    [ -z "$version" ] || torch+=("torch==$version")
  fi
  if [ -z "$version" ] && [ "$TORCH" != auto ]; then
    stop "TORCH=$TORCH: pip finds no such build of torch 2.10 to 2.13 (looked in pip's own sources and $cpu_index)"
  elif [ -z "$version" ]; then
    say "NOTICE: pip finds no $build build of torch 2.10 to 2.13 and takes what it finds instead; see TORCH= in the Makefile"
    torch=()
  else
    say "torch $version ($build build, TORCH=$TORCH)"
  fi
fi

# ---- install
say "installing into .venv, a minute or two"
# shellcheck disable=SC2086  # PIP_OPTIONS is a list of words
"$venv_python" -m pip --disable-pip-version-check install --quiet $PIP_OPTIONS \
  -c constraints.txt ${torch[@]+"${torch[@]}"} -e ".${EXTRAS:+[$EXTRAS]}"
touch .venv/.installed
report=$("$venv_python" -c 'import platform, torch
print("Python", platform.python_version() + ", torch", torch.__version__ + ", CUDA", torch.cuda.is_available())')
say "done: $report"
case "$build $report" in
  "cuda "*False) say "NOTICE: torch sees no CUDA device here; training will run on the CPU" ;;
esac
