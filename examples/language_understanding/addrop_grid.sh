#!/usr/bin/env bash
# A heat map of AD-DROP's p and q on kinds of interface strings: see --help.
set -euo pipefail

small_benchmarks=(interface_strings)
. "$(dirname "${BASH_SOURCE[0]}")/../lib/small.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/addrop_grid.sh [OPTIONS]

Trains with AD-DROP on 300 labels, by gradient attribution in every second epoch, for p and q of 0.1, 0.3,
... 0.9 each, and draws their validation accuracy, the mean over the seeds. The test set is not looked at.
What is done already is not done again.

$(describe_options)
END
}

# compare BENCHMARK SEED
compare() {
    local p q
    for p in 0.1 0.3 0.5 0.7 0.9; do
        for q in 0.1 0.3 0.5 0.7 0.9; do
            step train.sh "$1" --cpu --seed "$2" --name "addrop-p$p-q$q-seed$2" --train-set train-300 \
                --baseline -- --criterion addrop_sentence_prediction --addrop-p "$p" --addrop-q "$q"
        done
    done
}

show_results() {
    local picture=$out/addrop-grid.png
    python "$repo/scripts/plot_addrop_grid.py" "$out/${small_benchmarks[0]}" --out "$picture"
    say "the heat map is $picture"
}

small_run "$@"
