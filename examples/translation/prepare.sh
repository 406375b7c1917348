#!/usr/bin/env bash
# Prepares a benchmark for fairseq, as its corpus.json and settings.sh say: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/binarize.sh"

usage() {
    cat <<END
Usage: bash examples/translation/prepare.sh $benchmark [OPTIONS]

Downloads the corpus, tokenizes it, splits it into subwords and binarizes it. Finished stages are
skipped on a second run. The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    option orig DIR '' "take the archives, packed or unpacked, from DIR and download nothing"
    option subword 'sentencepiece|subword-nmt' "${subword-}" \
        "what splits words into subwords; the paper used subword-nmt"
    option bpe_size N "${bpe_size-}" "number of sentencepiece pieces or subword-nmt merges"
    option train_pairs N '' "keep N training pairs, chosen by a hash of the source (all)"
    option workers N '' "number of processes, which changes no result (all cores)"
    flag bidirectional "also make a corpus of both directions at once, for train.sh --bidirectional"
    option out DIR "$repo/runs/$benchmark" "where everything goes"
    [ -z "$other_valid" ] ||
        flag "$other_valid" "validate on $other_valid, not on training pairs that are held out"
}

other_valid='' # only some settings.sh have it

main() {
    read_arguments "$@"
    [ -z "$orig" ] || [ -d "$orig" ] ||
        die "there is no folder $orig: give --orig the folder of the archives"
    if [ -n "$other_valid" ] && [ -n "${!other_valid}" ]; then held_out=(--valid "$other_valid"); fi
    [ -z "$train_pairs" ] || corpus_settings+=(--train-pairs "$train_pairs")
    need_program fairseq-preprocess
    need_corpus_packages
    read_languages
    workers=${workers:-$(count_cores)}
    mkdir -p "$out"
    hold "$out/.lock" "$out"

    refuse_other_settings
    get_archives
    already_made "$out/corpus" || make_corpus
    already_made "$out/subwords" || split_into_subwords
    already_made "$out/binarized" || binarize_subwords
    [ -z "$bidirectional" ] || already_made "$out/binarized-bidirectional" || binarize_both_directions
    say "prepared: $out/binarized, made as $out/manifest.json says"
}

need_corpus_packages() {
    python -c 'import sacremoses, subword_nmt, tqdm' 2>/dev/null ||
        die "sacremoses, subword-nmt or tqdm is not installed here:" \
            "run pip install '${repo}[corpus]', or bash $repo/scripts/install.sh"
}

# A finished stage is skipped, so it must have been made as it would be made now.
refuse_other_settings() {
    [ -e "$out/corpus" ] || [ -e "$out/subwords" ] || [ -e "$out/binarized" ] || rm -f "$out/settings"
    keep_settings "$out/settings" \
        "$subword $bpe_size ${corpus_settings[*]} ${held_out[*]} ${subword_settings[*]}" \
        "remove corpus, subwords and binarized there, or name another place with --out"
}

get_archives() {
    [ -z "$orig" ] || return 0
    orig=$out/orig
    [ -e "$out/corpus" ] || supervise python "$repo/scripts/download.py" --corpus "$corpus_table" --to "$orig"
}

make_corpus() {
    say "tokenizing"
    supervise python "$repo/scripts/prepare_corpus.py" --corpus "$corpus_table" --orig "$orig" \
        --out "$out/corpus" "${corpus_settings[@]}" "${held_out[@]}" --workers "$workers"
}

split_into_subwords() {
    say "learning $bpe_size subwords with $subword"
    supervise python "$repo/scripts/subwords.py" --corpus "$out/corpus" --langs "$source" "$target" \
        --method "$subword" --size "$bpe_size" --out "$out/subwords" \
        "${subword_settings[@]}" --workers "$workers"
}

binarize_subwords() {
    say "binarizing"
    cp "$out/subwords/manifest.json" "$out/manifest.json.tmp"
    mv "$out/manifest.json.tmp" "$out/manifest.json"
    rm -rf "$out/preprocess.log" "$out/binarized-bidirectional" # which had another dictionary
    binarize "$out/subwords" "$source" "$target" "$out/binarized" "$out/preprocess.log" \
        --workers "$workers" || die_of_preprocessing "$out/preprocess.log"
}

# Each side has the text of both languages; the dictionary is that of one direction, so that a model
# moves over.
binarize_both_directions() {
    say "binarizing both directions at once"
    local texts=$out/bidirectional.tmp split
    rm -rf "$texts"
    mkdir "$texts"
    for split in train valid; do
        cat "$out/subwords/$split.$source" "$out/subwords/$split.$target" >"$texts/$split.$source"
        cat "$out/subwords/$split.$target" "$out/subwords/$split.$source" >"$texts/$split.$target"
    done
    binarize "$texts" "$source" "$target" "$out/binarized-bidirectional" "$out/preprocess.log" \
        --testpref '' --srcdict "$out/binarized/dict.$source.txt" --workers "$workers" ||
        die_of_preprocessing "$out/preprocess.log"
    rm -r "$texts"
}

main "$@"
