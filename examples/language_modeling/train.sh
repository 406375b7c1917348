#!/usr/bin/env bash
# Trains on a benchmark with R-Drop, or without it, as its settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/training.sh"

usage() {
    cat <<END
Usage: bash examples/language_modeling/train.sh $benchmark [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Trains with R-Drop on what prepare.sh made; an interrupted training continues.
The benchmarks are ${benchmarks// /, }.

$(describe_options)

An update is made of ${max_tokens-max_tokens} tokens x ${update_freq-update_freq}, however many processes share them.
END
}

read_arguments "$@"
train_benchmark
