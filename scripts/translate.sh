#!/usr/bin/env bash
# Translates raw text with a trained model, a line for a line: see --help.
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The installation of scripts/install.sh, unless a virtual environment is active.
if [ -z "${VIRTUAL_ENV:-}" ] && [ -d "$repo/.venv/bin" ]; then PATH=$repo/.venv/bin:$PATH; fi
# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

exec python -m rdrop_tools.translation "$@"
