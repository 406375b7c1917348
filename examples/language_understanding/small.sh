#!/usr/bin/env bash
# Kinds of interface strings without and with R-Drop, from the download to the table: see --help.
set -euo pipefail

small_benchmarks=(interface_strings)
. "$(dirname "${BASH_SOURCE[0]}")/../lib/small.sh"

# With 300, 1,000 and all labels, and with 300 and the other strings without one.
compare() {
    local set
    for set in train-300 train-1000 train; do
        train_and_evaluate "$1" "$2" "$set" plain --train-set "$set" --baseline
        train_and_evaluate "$1" "$2" "$set" R-Drop --train-set "$set"
    done
    train_and_evaluate "$1" "$2" semi-300 R-Drop --train-set semi-300
}

small_run "$@"
