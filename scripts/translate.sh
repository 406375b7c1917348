#!/usr/bin/env bash
# Translates raw text with a trained model, a line for a line: see --help.
set -euo pipefail
unset CDPATH # where it is exported, cd prints where it went
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# missing_in PYTHON: what it lacks of the plugin and the packages that every model needs. Of those
# that only some models need, translate.py names the missing one.
missing_in() {
    "$1" -I -c '
import importlib.util
needed = ("fairseq", "rdrop_tools", "sacrebleu", "sentencepiece")
print(*(name for name in needed if not importlib.util.find_spec(name)), sep=", ")' 2>/dev/null ||
        echo "a Python that runs"
}

# The environment that is active, if it has the plugin, else the one of scripts/install.sh.
python=python
missing=$(missing_in "$python")
[ -z "$missing" ] || python=$repo/.venv/bin/python
if [ -n "$missing" ] && [ -n "$(missing_in "$python")" ]; then
    echo "translate.sh: the active environment lacks $missing: run" \
        "bash $repo/scripts/install.sh, or pip install '${repo}[corpus]' there" >&2
    exit 1
fi
# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

export RDROP_PROGRAM=translate.sh # the name in its messages
exec "$python" "$repo/scripts/translate.py" "$@"
