#!/usr/bin/env bash
# Prepares text for a language model, as settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"

usage() {
    cat <<END
Usage: bash examples/language_modeling/prepare.sh $benchmark [OPTIONS]

Makes the text and binarizes it. Finished stages are skipped on a second run.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    option orig DIR '' "of the published files, which Wikitext-103 needs"
    option workers N 1 "processes; changes no result"
    option out DIR "$repo/runs/$benchmark" "where everything goes"
}

main() {
    read_arguments "$@"
    need_program fairseq-preprocess
    mkdir -p "$out"
    hold "$out/.lock" "$out"
    if [ ${#published[@]} -gt 0 ]; then check_published; else make_text; fi
    there "$out/binarized" || binarize_text
    say "prepared: $out/binarized"
}

check_published() {
    local file
    for file in "${published[@]}"; do
        [ -n "$orig" ] && [ -e "$orig/$file" ] ||
            die "$benchmark is made of published files ($source_of_files): give --orig the folder" \
                "that has ${published[*]}"
    done
    texts=("${published[@]/#/$orig/}")
}

make_text() {
    texts=("$out"/corpus/{train,valid,test}.en)
    there "$out/corpus" ||
        supervise python "$repo/scripts/prepare_interface_text.py" text \
            --wheel "${orig:-$out/orig}/homeassistant-2026.2.3.whl" --out "$out/corpus"
}

binarize_text() {
    say "binarizing"
    rm -rf "$out/binarized.tmp"
    supervise fairseq-preprocess --only-source --trainpref "${texts[0]}" --validpref "${texts[1]}" \
        --testpref "${texts[2]}" --destdir "$out/binarized.tmp" --workers "$workers" \
        >"$out/preprocess.log" 2>&1 || die "fairseq-preprocess failed; $out/preprocess.log says why"
    mv "$out/binarized.tmp" "$out/binarized"
}

main "$@"
