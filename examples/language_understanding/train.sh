#!/usr/bin/env bash
# Trains on labelled sentences with R-Drop, or without it, as settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/training.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/train.sh $benchmark [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Trains with R-Drop on what prepare.sh made; an interrupted training continues.
The benchmarks are ${benchmarks// /, }.
The name of a run begins with the set, and without --max-updates the settings say how long to train on it.

$(describe_options)
END
}

declare_options() {
    option train_set SET train "set to train on: train-N has N labels, semi-N the unlabelled rest too"
    method_options
    training_options
}

choose_train_set() {
    [ -e "$out/binarized/input0/$train_set.bin" ] ||
        die "there is no set $train_set in $out/binarized: run prepare.sh first, or give another" \
            "--train-set"
    max_updates=${max_updates:-${updates_of[$train_set]-}}
    [ -n "$max_updates" ] ||
        die "the settings do not say how long to train on $train_set: give --max-updates"
    run_prefix=$train_set-
    optimization+=(--train-subset "$train_set" --total-num-update "$max_updates")
}

read_arguments "$@"
choose_train_set
train_benchmark
