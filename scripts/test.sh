#!/usr/bin/env bash
# Installs what is missing, checks the style and runs the tests: see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} = -h || ${1:-} = --help ]]; then
    echo "Usage: bash scripts/test.sh [ARGUMENTS OF pytest]"
    echo "Installs what is missing into .venv, checks the style and runs the tests."
    exit
fi

bash scripts/install.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# One worker a core, one thread a worker.
OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest --numprocesses auto "$@"
