#!/usr/bin/env bash
# Translates raw text with a trained model, a line for a line: see --help.
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The environment that is active, if it has the plugin, else the one of scripts/install.sh.
has_plugin='import sys, importlib.util as u; sys.exit(not (u.find_spec("rdrop_tools") and u.find_spec("fairseq")))'
if [ -d "$repo/.venv/bin" ] && ! python -I -c "$has_plugin" 2>/dev/null; then
    PATH=$repo/.venv/bin:$PATH
fi
# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

exec python "$repo/scripts/translate.py" "$@"
