#!/usr/bin/env bash
# Trains on a benchmark with R-Drop, or without it, as its settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/training.sh"

read_arguments "$@"
# this rate falls to zero at the last update
if [[ " ${optimization[*]} " = *' polynomial_decay '* ]]; then optimization+=(--total-num-update "$max_updates"); fi
train_benchmark
