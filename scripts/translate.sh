#!/usr/bin/env bash
# Translates raw text with a trained model, a line for a line: see --help.
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# has_all PYTHON: whether it has the plugin and all that preparing text needs
has_all() {
    "$1" -I -c '
import importlib.util, sys
needed = ("fairseq", "rdrop_tools", "sacremoses", "sentencepiece", "subword_nmt", "tqdm")
sys.exit(not all(map(importlib.util.find_spec, needed)))' 2>/dev/null
}

# The environment that is active, if it has all, else the one of scripts/install.sh.
python=python
has_all "$python" || python=$repo/.venv/bin/python
if ! has_all "$python"; then
    echo "translate.sh: the plugin is not installed here: run bash $repo/scripts/install.sh, or" \
        "pip install '${repo}[corpus]' where fairseq is" >&2
    exit 1
fi
# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

export RDROP_PROGRAM=translate.sh # the name in its messages
exec "$python" "$repo/scripts/translate.py" "$@"
