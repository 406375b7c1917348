#!/usr/bin/env bash
# Prepares labelled sentences for fairseq, as the benchmark's settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/binarize.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/prepare.sh $benchmark [OPTIONS]

Splits labelled sentences into subwords and binarizes them. Finished stages are skipped on a second
run. The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    option orig DIR '' \
        "folder with GLUE's published folders, such as RTE, or with the wheel of interface_strings"
    option roberta DIR '' \
        "folder of roberta.large for GLUE: model.pt, dict.txt, encoder.json and vocab.bpe of its subwords"
    option out DIR "$repo/runs/$benchmark" "where everything goes"
}

main() {
    read_arguments "$@"
    need_program fairseq-preprocess
    mkdir -p "$out"
    hold "$out/.lock" "$out"
    already_made "$out/subwords" || "make_$corpus"
    already_made "$out/binarized" || binarize_all
    say "prepared: $out/binarized"
}

make_interface_strings() {
    supervise python "$repo/scripts/prepare_interface_strings.py" --out "$out/subwords" --size "$bpe_size" \
        --wheel "${orig:-$out/orig}/$home_assistant_wheel"
}

make_glue() {
    [ -n "$orig" ] ||
        die "GLUE is not downloaded here: give --orig the folder with $glue_task/train.tsv and" \
            "the other published files"
    [ -n "$roberta" ] || die "give --roberta the folder of roberta.large"
    local file
    for file in model.pt dict.txt encoder.json vocab.bpe; do
        [ -e "$roberta/$file" ] ||
            die "there is no $roberta/$file: give --roberta the folder of roberta.large"
    done
    # Before the subwords, whose folder says that this stage is done.
    cp "$roberta/dict.txt" "$out/dict.txt"
    ln -sfn "$(cd "$roberta" && pwd)/model.pt" "$out/pretrained.pt"
    supervise python "$repo/scripts/prepare_glue.py" --task "$glue_task" --orig "$orig" \
        --subwords "$roberta" --out "$out/subwords"
}

binarize_all() {
    say "binarizing"
    local dictionary=()
    [ ! -e "$out/dict.txt" ] || dictionary=(--srcdict "$out/dict.txt")
    rm -f "$out/preprocess.log"
    binarize_sentences "$out/subwords" "$out/binarized" "$out/preprocess.log" "$regression" \
        "${dictionary[@]}" || die_of_preprocessing "$out/preprocess.log"
}

main "$@"
