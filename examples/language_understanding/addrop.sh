#!/usr/bin/env bash
# Kinds of interface strings with AD-DROP, by each attribution, from 300 labels: see --help.
set -euo pipefail

small_benchmarks=(interface_strings)
. "$(dirname "${BASH_SOURCE[0]}")/../lib/small.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/addrop.sh [OPTIONS]

Trains on 300 labels: plainly, with R-Drop, and with AD-DROP by each attribution, in every second epoch
(cross-tuning) and in every epoch. Evaluates on the test set and prints mean and standard deviation over
the seeds. What is done already is not done again.

$(describe_options)
END
}

results() { echo "$out/addrop.csv"; }

compare() {
    local attribution words
    row "$1" "$2" plain --baseline
    row "$1" "$2" R-Drop
    for attribution in gradient integrated attention random; do
        words=(--baseline -- --criterion addrop_sentence_prediction
            --addrop-p 0.3 --addrop-q 0.3 --addrop-attribution "$attribution")
        row "$1" "$2" "AD-DROP, $attribution" "${words[@]}"
        row "$1" "$2" "AD-DROP, $attribution, every epoch" "${words[@]}" --no-cross-tuning
    done
}

# row BENCHMARK SEED METHOD [ARGUMENTS OF train.sh]
row() { train_and_evaluate "$1" "$2" train-300 "$3" --train-set train-300 "${@:4}"; }

small_run "$@"
