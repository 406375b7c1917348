#!/usr/bin/env bash
# Translates the test set of a benchmark and scores it, as its settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/checkpoints.sh"
. "$lib/device.sh"

usage() {
    cat <<END
Usage: bash examples/translation/evaluate.sh $benchmark RUN [OPTIONS]

Translates the test set with a model of train.sh and scores it. RUN is the name of the run, a folder
in $out.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    argument run
    option average N '' "score the mean of the last N checkpoints, not checkpoint_best.pt"
    flag ema "score the moving average that train.sh --ema kept"
    option subset 'test|valid' test "the sentences to translate"
    option beam N "${beam-}" "width of the beam search"
    option lenpen X "${lenpen-}" "length penalty"
    option engine 'fairseq|ctranslate2' fairseq \
        "program that translates; for ctranslate2 the model is exported into RUN"
    option comet MODEL '' "also score with this COMET model; needs unbabel-comet"
    flag cpu "translate on the CPU, even where there is a GPU"
    option out DIR "$repo/runs/$benchmark" "the folder that prepare.sh made"
}

main() {
    read_arguments "$@"
    need_run
    need_program fairseq-generate
    read_direction
    choose_checkpoint
    log=$out/$run/generate-$subset-$checkpoint-beam$beam-lenpen$lenpen.log
    exported=$out/$run/ctranslate2-$checkpoint
    if [ "$engine" = fairseq ]; then
        hold "$out/$run/.${log##*/}.lock" "$log"
    else
        log=${log%.log}-$engine.log
        # The export is that of every beam and length penalty, so its lock is that of their logs too.
        hold "$out/$run/.${exported##*/}.evaluation.lock" "$exported"
    fi
    # What is older than the model was made with an earlier one, before the training continued.
    if [ "$log" -nt "$checkpoint_file" ]; then
        say "already there: $log"
    elif [ "$engine" = fairseq ]; then
        translate
    else
        translate_exported
    fi
    local scores=${log%.log}.scores # for the model card
    if [ ! -w "$out/$run" ]; then
        print_scores
        return
    fi
    print_scores | tee "$scores.tmp"
    mv "$scores.tmp" "$scores"
}

print_scores() {
    # rdrop_tools/translation/card.py reads beam and length penalty from this line.
    say "$source-$target $subset, $run, $checkpoint checkpoint, beam $beam, length penalty $lenpen"
    score "${score_options[@]}"
    if [ -n "${also_compound_split-}" ]; then
        say "with compounds split at hyphens"
        score --compound-split
    fi
    score --detokenize "$target"
    [ -z "$comet" ] || score_comet
}

# The languages as train.sh had them: what it noted begins with SOURCE-TARGET.
read_direction() {
    local noted=$out/$run/settings
    [ -e "$noted" ] || die "there is no $noted, which train.sh writes: was this run made with it?"
    IFS='- ' read -r source target _ <"$noted"
}

choose_checkpoint() {
    [ -z "$average" ] || [ -z "$ema" ] || refuse "give --average or --ema, not both"
    checkpoint=${average:+average$average}${ema:+ema}
    checkpoint=${checkpoint:-best}
    local what_to_do="remove it, and the same command makes it again"
    [ "$checkpoint" != best ] || what_to_do="continue its training with train.sh, or give --average"
    checkpoint_file=$out/$run/checkpoint_$checkpoint.pt
    if [ -n "$average" ] && [ ! "$checkpoint_file" -nt "$out/$run/checkpoint_last.pt" ]; then
        dated_by_its_start "$checkpoint_file" \
            supervise python "$repo/scripts/average_checkpoints.py" --dir "$out/$run" \
            --last "$average" "${averaged[@]}" --out "$checkpoint_file"
    elif [ -n "$ema" ] && [ ! "$checkpoint_file" -nt "$out/$run/checkpoint_best.pt" ]; then
        dated_by_its_start "$checkpoint_file" \
            supervise python "$repo/scripts/average_checkpoints.py" \
            --inputs "$out/$run/checkpoint_best.pt" --ema --out "$checkpoint_file"
    fi
    need_checkpoint "$checkpoint_file" "$what_to_do"
}

translate() {
    precision=fp32
    choose_device
    say "translating"
    dated_by_its_start "$log.tmp" \
        supervise fairseq-generate "$out/binarized" --user-dir "$repo/rdrop_fairseq" --task translation \
        --source-lang "$source" --target-lang "$target" --gen-subset "$subset" --path "$checkpoint_file" \
        --beam "$beam" --lenpen "$lenpen" --remove-bpe "$(joining_of_subwords)" \
        --max-tokens 4096 "${precision_flags[@]}" >"$log.tmp" ||
        die "fairseq-generate failed; the lines above say why"
    mv "$log.tmp" "$log"
}

translate_exported() {
    if [ ! "$exported" -nt "$checkpoint_file" ]; then
        say "exporting to $exported"
        rm -rf "$exported"
        dated_by_its_start "$exported" \
            supervise python "$repo/scripts/export_ctranslate2.py" "$out/$run" \
            --checkpoint "${checkpoint_file##*/}" --out "$exported"
    fi
    say "translating with $engine"
    dated_by_its_start "$log.tmp" \
        supervise bash "$repo/scripts/translate.sh" "$exported" --prepared \
        --beam "$beam" --lenpen "$lenpen" \
        --input "$out/subwords/$subset.$source" ${cpu:+--cpu} >"$log.tmp"
    mv "$log.tmp" "$log"
}

score_comet() {
    python "$repo/scripts/score_comet.py" --sys "$log" --model "$comet" \
        --src "$out/subwords/tokenized/$subset.$source" \
        --ref "$out/subwords/tokenized/$subset.$target" --detokenize "$source" "$target"
}

score() {
    python "$repo/scripts/score_bleu.py" --sys "$log" \
        --ref "$out/subwords/tokenized/$subset.$target" "${case_options[@]}" "$@"
}

main "$@"
