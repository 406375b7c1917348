#!/usr/bin/env bash
# Prepares texts and their summaries, as settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/binarize.sh"
. "$lib/published.sh"

usage() {
    cat <<END
Usage: bash examples/summarization/prepare.sh $benchmark [OPTIONS]

Makes the texts, splits them into subwords and binarizes them. Finished stages are skipped on a
second run. The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    option orig DIR '' "folder with CNN/DailyMail's published files, or with the wheel of headlines"
    option workers N 1 "number of processes, which changes no result"
    option out DIR "$repo/runs/$benchmark" "where everything goes"
}

main() {
    read_arguments "$@"
    need_program fairseq-preprocess
    mkdir -p "$out"
    hold "$out/.lock" "$out"
    if [ ${#published[@]} -gt 0 ]; then prepare_published; else prepare_headlines; fi
    say "prepared: $out/binarized"
}

prepare_headlines() {
    already_made "$out/corpus" ||
        supervise python "$repo/scripts/prepare_interface_text.py" headlines \
            --wheel "${orig:-$out/orig}/$home_assistant_wheel" --out "$out/corpus"
    already_made "$out/subwords" ||
        supervise python "$repo/scripts/subwords.py" --corpus "$out/corpus" \
            --langs "$source_language" "$target_language" --size "$bpe_size" --workers "$workers" \
            --out "$out/subwords"
    binarize_once
}

prepare_published() {
    if [ -n "$orig" ] || [ ! -e "$out/binarized" ] || [ ! -e "$out/subwords" ] || [ ! -L "$out/pretrained.pt" ]; then
        need_published
        # before the binarized text, with which train.sh takes all to be there
        ln -sfn "$(cd "$orig" && pwd)/bart.large/model.pt" "$out/pretrained.pt"
    fi
    already_made "$out/subwords" ||
        supervise python "$repo/scripts/encode_gpt2.py" --orig "$orig" --workers "$workers" \
            --out "$out/subwords"
    binarize_once --srcdict "$orig/dict.txt"
}

binarize_once() {
    already_made "$out/binarized" && return
    say "binarizing"
    rm -f "$out/preprocess.log"
    binarize "$out/subwords" "$source_language" "$target_language" "$out/binarized" \
        "$out/preprocess.log" --workers "$workers" "$@" ||
        die_of_preprocessing "$out/preprocess.log"
}

main "$@"
