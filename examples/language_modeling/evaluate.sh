#!/usr/bin/env bash
# The perplexity of the test set under a language model: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/evaluation.sh"

usage() {
    cat <<END
Usage: bash examples/language_modeling/evaluate.sh $benchmark RUN [OPTIONS]

Prints the perplexity of a text under the best checkpoint of a training. RUN is the name of the
run, a folder in $out.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

evaluate() {
    need_program fairseq-eval-lm
    supervise fairseq-eval-lm "$out/binarized" --user-dir "$repo/rdrop_fairseq" \
        --path "$checkpoint_file" --gen-subset "$subset" "${evaluation[@]}" \
        "${precision_flags[@]}" >"$1" 2>&1 || { cat "$1" >&2; return 1; }
}

# fairseq-eval-lm ends with "Loss (base 2): 5.1, Perplexity: 34.5".
scores() {
    local perplexity
    perplexity=$(sed -n 's/.*Perplexity: \([0-9.]*\).*/\1/p' "$1")
    [ -n "$perplexity" ] || die "$1 has no perplexity: remove it and evaluate again"
    echo "perplexity $perplexity"
}

evaluate_run "$@"
