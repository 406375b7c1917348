#!/usr/bin/env bash
# Summarizes the test set and scores it with ROUGE: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/evaluation.sh"

usage() {
    cat <<END
Usage: bash examples/summarization/evaluate.sh $benchmark RUN [OPTIONS]

Summarizes a text with the best checkpoint of a training and prints ROUGE-1, ROUGE-2 and ROUGE-L.
RUN is the name of the run, a folder in $out.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

evaluate() {
    need_program fairseq-generate
    python -c 'import rouge_score' 2>/dev/null ||
        die "rouge-score is not installed here: run pip install '${repo}[rouge]', or" \
            "bash $repo/scripts/install.sh"
    local gpt2=$out/subwords/encoder.json # where the subwords are those of GPT-2, as numbers
    if [ -e "$gpt2" ]; then
        search+=(--bpe gpt2 --gpt2-encoder-json "$gpt2"
            --gpt2-vocab-bpe "$out/subwords/vocab.bpe")
    fi
    supervise fairseq-generate "$out/binarized" --user-dir "$repo/rdrop_fairseq" "${task_flags[@]}" \
        --gen-subset "$subset" --path "$checkpoint_file" "${search[@]}" --max-tokens 4096 \
        "${precision_flags[@]}" >"$1"
}

scores() {
    python "$repo/scripts/score_rouge.py" --sys "$1" "${rouge_options[@]}" \
        --ref "$out/subwords/tokenized/$subset.$target_language"
}

evaluate_run "$@"
