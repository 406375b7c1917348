#!/usr/bin/env bash
# R-Drop against fairseq's own criterion on interface strings, three seeds each: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/small.sh [OPTIONS]

Prepares interface_strings, trains plainly and with R-Drop on 300, 1,000 and all labels, and with R-Drop on 300
labels and the other strings without; prints the table of README.md. Finished runs are skipped on
a second run.

$(describe_options)
END
}

main() {
    option seeds N 3 "of each training"
    option orig DIR '' "the folder of the wheel, which is downloaded without it"
    option out DIR "$repo/runs/interface_strings" "where everything goes"
    parse_options "$@"
    check_out
    here prepare.sh interface_strings ${orig:+--orig "$orig"}
    local seed set
    for ((seed = 1; seed <= seeds; seed++)); do
        for set in train-300 train-1000 train; do
            compare "$set" plain "$seed" --baseline
            compare "$set" R-Drop "$seed"
        done
        compare semi-300 R-Drop "$seed"
    done
    write_results
    python "$repo/scripts/seeds_table.py" "$out/results.csv"
}

here() { bash "$task/$1" "${@:2}" --out "$out"; }

# compare SET METHOD SEED [OPTIONS OF train.sh]: a training and its scores.
compare() {
    local run=$1-$2-seed$3
    here train.sh interface_strings --train-set "$1" --seed "$3" --cpu --name "$run" "${@:4}" \
        >>"$out/small.log" 2>&1 || die "the training $run failed; $out/small.log says why"
    [ "$out/$run/scores" -nt "$out/$run/checkpoint_best.pt" ] ||
        here evaluate.sh interface_strings "$run" --cpu >>"$out/small.log" 2>&1 ||
        die "the evaluation of $run failed; $out/small.log says why"
    say "$run: accuracy $(accuracy "$run" valid) (validation), $(accuracy "$run" test) (test)"
    rows+=("$1,$2,$3,$(accuracy "$run" valid),$(accuracy "$run" test)")
}

rows=()

accuracy() { awk -v set="$2" '$1 == set && $2 == "accuracy" { print $3 }' "$out/$1/scores"; }

write_results() {
    printf '%s\n' train_set,method,seed,valid,test "${rows[@]}" >"$out/results.csv.tmp"
    mv "$out/results.csv.tmp" "$out/results.csv"
}

main "$@"
