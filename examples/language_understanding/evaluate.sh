#!/usr/bin/env bash
# Validates the best checkpoint of a run: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/checkpoints.sh"
. "$lib/device.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/evaluate.sh $benchmark RUN [OPTIONS]

Prints what fairseq reports of the best checkpoint of RUN, a folder in $out.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    argument run
    option subsets SETS "${evaluated-}" "what to evaluate on, separated by commas"
    flag cpu "on the CPU, even where there is a GPU"
    option out DIR "$repo/runs/$benchmark" "of prepare.sh"
}

main() {
    read_arguments "$@"
    [ -n "$run" ] || refuse "name the RUN to evaluate"
    need_program fairseq-validate
    local folder=$out/$run
    [ -d "$folder" ] || die "there is no run $folder: train it with train.sh, or give --out"
    local checkpoint=$folder/checkpoint_best.pt
    [ -e "$checkpoint" ] || die "there is no $checkpoint: has the training come to its first validation?"
    is_whole "$checkpoint" || die "$checkpoint is cut short or damaged: continue its training with train.sh"
    precision=fp32
    choose_device
    # by fairseq's own criterion, whatever the model was trained with
    local criterion=(--criterion sentence_prediction ${regression:+--regression-target} "${report[@]}")
    supervise fairseq-validate "$out/binarized" --user-dir "$repo/rdrop_fairseq" \
        --task sentence_prediction --num-classes "$num_classes" --path "$checkpoint" \
        "${criterion[@]}" --init-token 0 --separator-token 2 \
        --valid-subset "$subsets" --batch-size 256 --log-format json --no-progress-bar \
        "${precision_flags[@]}" >"$folder/evaluate.log" 2>&1 ||
        die "fairseq-validate failed; $folder/evaluate.log says why"
    python "$repo/scripts/sentence_scores.py" "$folder/evaluate.log" >"$folder/scores.tmp"
    mv "$folder/scores.tmp" "$folder/scores"
    cat "$folder/scores"
}

main "$@"
