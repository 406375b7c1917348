#!/usr/bin/env bash
# Installs what is missing, checks the style and runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash scripts/install.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# One worker a core, one thread a worker.
OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest --numprocesses auto "$@"
