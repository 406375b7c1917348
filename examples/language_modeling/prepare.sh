#!/usr/bin/env bash
# Prepares text for a language model, as settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/binarize.sh"
. "$lib/published.sh"

usage() {
    cat <<END
Usage: bash examples/language_modeling/prepare.sh $benchmark [OPTIONS]

Makes the text and binarizes it. Finished stages are skipped on a second run.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    option orig DIR '' "folder with Wikitext-103's published files, or with the wheel of interface_text"
    option workers N 1 "number of processes, which changes no result"
    option out DIR "$repo/runs/$benchmark" "where everything goes"
}

main() {
    read_arguments "$@"
    need_program fairseq-preprocess
    mkdir -p "$out"
    hold "$out/.lock" "$out"
    if [ ${#published[@]} -eq 0 ]; then
        make_text
    elif [ -n "$orig" ] || [ ! -e "$out/binarized" ]; then
        take_published
    fi
    already_made "$out/binarized" || binarize_text
    say "prepared: $out/binarized"
}

take_published() {
    need_published
    texts=("${published[@]/#/$orig/}")
}

make_text() {
    texts=("$out"/corpus/{train,valid,test}.en)
    already_made "$out/corpus" ||
        supervise python "$repo/scripts/prepare_interface_text.py" text \
            --wheel "${orig:-$out/orig}/$home_assistant_wheel" --out "$out/corpus"
}

binarize_text() {
    say "binarizing"
    rm -rf "$out/binarized.tmp"
    supervise fairseq-preprocess --only-source --trainpref "${texts[0]}" --validpref "${texts[1]}" \
        --testpref "${texts[2]}" --destdir "$out/binarized.tmp" --workers "$workers" \
        >"$out/preprocess.log" 2>&1 || die_of_preprocessing "$out/preprocess.log"
    mv "$out/binarized.tmp" "$out/binarized"
}

main "$@"
