#!/usr/bin/env bash
# Makes .venv in the checkout with everything to run, test and develop the plugin.
set -euo pipefail

PYTHON=${PYTHON:-python3}         # the Python to use, 3.9 to 3.13
RDROP_TORCH=${RDROP_TORCH:-}      # another PyTorch than the pinned one, such as "torch==2.15.0"

usage() {
    cat <<'HELP'
usage: bash scripts/install.sh

Makes .venv in the checkout, with the exact versions of constraints.txt. Does nothing when all is
there already.

  PYTHON=python3.12         use this Python (3.9 to 3.13; default python3)
  RDROP_TORCH=torch==2.15.0 use this PyTorch instead of the pinned one, for a GPU say; add
                            PIP_EXTRA_INDEX_URL=... where it comes from an index of its own
HELP
}

die() { echo "install.sh: $*" >&2; exit 1; }
say() { echo "==> $*"; }
python_says() { "$PYTHON" -c "import platform, sys; print($1)"; }

case ${1:-} in
    "") ;;
    -h | --help) usage; exit 0 ;;
    *) die "unknown argument '$1'; see --help" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=$PWD
venv=$repository/.venv

command -v "$PYTHON" >/dev/null ||
    die "there is no '$PYTHON'; install Python 3.9 to 3.13, or name one: PYTHON=/path/to/python3"
version=$(python_says '"%d.%d" % sys.version_info[:2]')
case $version in
    3.9 | 3.10 | 3.11 | 3.12 | 3.13) ;;
    *) die "'$PYTHON' is Python $version; give one from 3.9 to 3.13: PYTHON=/path/to/python3" ;;
esac

wanted="$version $RDROP_TORCH $(cat setup.py pyproject.toml constraints.txt scripts/install.sh | cksum)"
stamp=$venv/installed
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    say "everything is installed in $venv"
    exit 0
fi

# ve-fairseq is prebuilt; fairseq 0.12.2 and fairseq-fixed are compiled.
platform=$(python_says 'platform.system(), platform.machine()')
case "$version $platform" in
    "3.11 Linux x86_64" | "3.12 Linux x86_64") fairseq=prebuilt ;;
    3.9* | 3.10*) fairseq=fairseq ;;
    *) fairseq=fairseq-fixed ;;
esac
if [ "$fairseq" != prebuilt ]; then
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null ||
        die "$fairseq must be compiled for Python $version and there is no C++ compiler; install" \
            "one (g++ or clang++), or use Python 3.11 or 3.12 on Linux x86-64, which needs none"
fi
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "'$PYTHON' has no venv module; install it (on Debian and Ubuntu: python$version-venv)"

say "making $venv with Python $version"
rm -f "$stamp"
"$PYTHON" -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }

# The name of PyTorch's pin is all that RDROP_TORCH replaces.
constraints=$venv/constraints.txt
{ if [ -n "$RDROP_TORCH" ]; then grep -v '^torch==' constraints.txt; echo "$RDROP_TORCH"
  else cat constraints.txt; fi; } >"$constraints"

if [ "$fairseq" = fairseq ]; then
    say "taking a pip that still accepts what fairseq 0.12.2 says of its dependencies"
    pip 'pip<24.1'
fi
say "installing PyTorch (${RDROP_TORCH:-as pinned in constraints.txt})"
pip -c "$constraints" torch
if [ "$fairseq" = fairseq-fixed ]; then
    # Its build would fetch a PyTorch of its own; without isolation it takes the one above.
    say "compiling fairseq-fixed: about four minutes the first time"
    pip -c "$constraints" setuptools wheel cython numpy
    pip -c "$constraints" --no-build-isolation fairseq-fixed==0.12.3.1
fi
say "installing the plugin with all that it and its tests need"
pip -c "$constraints" --editable '.[dev]'

echo "$wanted" >"$stamp"
say "done: source $venv/bin/activate"
