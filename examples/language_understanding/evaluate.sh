#!/usr/bin/env bash
# The accuracy of the best checkpoint of a run, and fairseq's other scores: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/evaluation.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/evaluate.sh $benchmark RUN [OPTIONS]

Prints what fairseq reports of the best checkpoint of RUN, a folder in $out.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

# By fairseq's own criterion, whatever the model was trained with.
evaluate() {
    need_program fairseq-validate
    supervise fairseq-validate "$out/binarized" --user-dir "$repo/rdrop_fairseq" \
        "${task_flags[@]}" "${plain_criterion[@]}" --path "$checkpoint_file" \
        --valid-subset "$subset" --batch-size 256 --log-format json --no-progress-bar \
        "${precision_flags[@]}" >"$1" 2>&1 || { cat "$1" >&2; return 1; }
}

scores() { python "$repo/scripts/validation_scores.py" "$1"; }

evaluate_run "$@"
