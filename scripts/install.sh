#!/usr/bin/env bash
# Makes .venv in the checkout with everything to run, test and develop the plugin.
set -eEuo pipefail

unset CDPATH # where it is exported, cd prints where it went
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repository/.venv
versions=$repository/fairseq-versions.txt

# fairseq-versions.txt has a Python, a system, the fairseq for both and how that comes on each line.
rows=$(grep '^3' "$versions")
oldest=${rows%% *} newest=${rows##*$'\n'} newest=${newest%% *}

# fairseq_for VERSION SYSTEM: the last two columns of the first row that fits; fails if none does.
fairseq_for() {
    local python system rest
    while read -r python system rest; do
        case "$python $system" in "$1 any" | "$1 other" | "$1 $2") echo "$rest"; return ;; esac
    done <<<"$rows"
    return 1
}

usage() {
    cat <<HELP
usage: bash scripts/install.sh

Makes .venv in the checkout, with the exact versions of constraints.txt. Does nothing when all is
there already, and completes what was interrupted.

  PYTHON=python3.12           use this Python, $oldest to $newest (default python3)
  RDROP_TORCH=torch==2.15.0   use this PyTorch instead of the pinned one, for a GPU say; add
                              PIP_EXTRA_INDEX_URL=... where it comes from an index of its own

Both are remembered in .venv for the next run; RDROP_TORCH= goes back to the pinned PyTorch.
HELP
}

die() { echo "install.sh: $*" >&2; exit 1; }
say() { echo "==> $*"; }
ask() { "$PYTHON" -c "import os, platform, sys, sysconfig; print($1)"; }

case ${1:-} in
    "") ;;
    -h | --help) usage; exit 0 ;;
    *) die "unknown argument '$1'; see --help" ;;
esac

# Three lines: the Python, the PyTorch asked for and, once all is there, what was installed.
record=$venv/installed
last_python='' last_torch='' last_contents=''
if [ -f "$record" ]; then
    { read -r last_python; read -r last_torch; read -r last_contents; } <"$record" || true
fi
[ -x "$last_python" ] || last_python=python3
PYTHON=${PYTHON:-$last_python}
RDROP_TORCH=${RDROP_TORCH-$last_torch}

command -v "$PYTHON" >/dev/null ||
    die "there is no '$PYTHON'; install Python $oldest to $newest, or name one: PYTHON=/path/to/python3"
version=$(ask '"%d.%d" % sys.version_info[:2]') ||
    die "'$PYTHON' does not run; name another one: PYTHON=/path/to/python3"
system=$(ask 'platform.system() + "-" + platform.machine()')
row=$(fairseq_for "$version" "$system") ||
    die "'$PYTHON' is Python $version; give one from $oldest to $newest: PYTHON=/path/to/python3"
read -r fairseq built <<<"$row"
# The Python behind a virtual environment: $PYTHON may be the one in .venv, which is made again.
PYTHON=$(ask "os.path.realpath(sys.executable)")

cd "$repository"
# The path is among it: a virtual environment does not work in a checkout that was moved.
contents="$(cat setup.py pyproject.toml constraints.txt "$versions" scripts/install.sh | cksum) $repository"
if [ "$PYTHON $RDROP_TORCH $contents" = "$last_python $last_torch $last_contents" ] &&
    [ -x "$venv/bin/python" ]; then
    say "everything is installed in $venv"
    exit 0
fi

if [ "$built" = compiled ]; then
    why="${fairseq%%==*} must be compiled (fairseq-versions.txt says where one is prebuilt)"
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null ||
        die "there is no C++ compiler; install one (g++ or clang++): $why"
    headers=$(ask 'sysconfig.get_path("include")')
    [ -f "$headers/Python.h" ] ||
        die "there is no $headers/Python.h; install it (on Debian: python$version-dev): $why"
fi
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    die "'$PYTHON' has no venv module; install it (on Debian: python$version-venv)"

lock=$venv.lock
exec <>"$lock" # what is started inherits the lock with the standard input
host_and_time=$("$PYTHON" rdrop_tools/lock.py install.sh "$lock" "$venv") || exit 1
echo "install.sh (process $$ $host_and_time)" >"$lock"

trap 'die "stopped; the message above says why. Run it again to complete the installation"' ERR
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }

say "making $venv with Python $version"
"$PYTHON" -m venv --clear "$venv"
printf '%s\n' "$PYTHON" "$RDROP_TORCH" >"$record"

# RDROP_TORCH replaces PyTorch's pins and nothing else.
constraints=$venv/constraints.txt
grep -v '^torch==' constraints.txt >"$constraints"
if [ -n "$RDROP_TORCH" ]; then echo "$RDROP_TORCH"; else grep '^torch==' constraints.txt; fi \
    >>"$constraints"

if [[ $fairseq = fairseq==* ]]; then
    say "taking a pip that still accepts what fairseq 0.12.2 says of its dependencies"
    pip 'pip<24.1'
fi
say "installing PyTorch (${RDROP_TORCH:-as pinned in constraints.txt})"
pip -c "$constraints" torch
if [[ $fairseq = fairseq-fixed==* ]]; then
    # Its build would fetch a PyTorch of its own; without isolation it takes the one above.
    say "compiling fairseq-fixed: about four minutes the first time"
    pip -c "$constraints" setuptools wheel cython numpy
    pip -c "$constraints" --no-build-isolation "$fairseq"
fi
say "installing the plugin with all that it and its tests need"
pip -c "$constraints" --editable '.[dev]'

echo "$contents" >>"$record"
say "done: source $venv/bin/activate"
