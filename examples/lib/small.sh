# shellcheck shell=bash
# The small run of a task: its benchmarks without and with R-Drop, in several seeds, and one table.
#
#   small_benchmarks   array: those that need only what pip can fetch

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$lib/lock.sh"
. "$lib/signals.sh"

use_installation

usage() {
    cat <<END
Usage: bash examples/$(basename "$task_dir")/small.sh [OPTIONS]

Prepares ${small_benchmarks[*]}, trains without and with R-Drop, evaluates on the test set
and prints mean and standard deviation over the seeds. What is done already is not done again.

$(describe_options)
END
}

small_run() {
    option seeds N 3 "how many seeds"
    option out DIR "$repo/runs/small" "where everything goes"
    parse_options "$@"
    check_out
    need_program fairseq-train
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    mkdir -p "$out"
    hold "$out/.$(basename "$task_dir").lock" "$(results)"
    local benchmark seed
    for benchmark in "${small_benchmarks[@]}"; do step prepare.sh "$benchmark"; done
    for ((seed = 1; seed <= seeds; seed++)); do
        for benchmark in "${small_benchmarks[@]}"; do compare "$benchmark" "$seed"; done
    done
    show_results
}

show_results() { python "$repo/scripts/seed_scores.py" table "$(results)"; }

results() { echo "$out/$(basename "$task_dir").csv"; }

step() { supervise bash "$task_dir/$1" "$2" --out "$out/$2" "${@:3}"; }

# compare BENCHMARK SEED: the trainings; a task that has other ones redefines it.
compare() {
    train_and_evaluate "$1" "$2" "$1" plain --baseline
    train_and_evaluate "$1" "$2" "$1" R-Drop
}

# train_and_evaluate BENCHMARK SEED ROW METHOD [ARGUMENTS OF train.sh]: a row of the table, in a seed.
train_and_evaluate() {
    local run
    run=$(tr '[:upper:]' '[:lower:]' <<<"$3-$4-seed$2" | tr -s ', ' -)
    step train.sh "$1" --cpu --seed "$2" --name "$run" "${@:5}"
    step evaluate.sh "$1" --cpu "$run"
    python "$repo/scripts/seed_scores.py" add "$(results)" "$out/$1/$run/test.scores" \
        benchmark="$3" method="$4" seed="$2"
}
