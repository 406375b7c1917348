# shellcheck shell=bash
# One training of run.sh: the training before it, if there is one, its own, the translation of the test set, its rows in
# results.csv and validations.csv.

# run_training LINE, as `scripts/ablations.py list` prints it
run_training() {
    local folder corpus seed before updates_before updates arguments run data start=()
    IFS=$'\t' read -r folder corpus seed before updates_before updates arguments <<<"$1"
    run=$out/$folder
    data=$out/$corpus/binarized
    case $before in
        both) train "$run-both" "$data-bidirectional" "$updates_before" "$arguments" ;;
        plain) train "$run-plain" "$data" "$updates_before" '--criterion label_smoothed_cross_entropy' ;;
    esac
    [ "$before" = - ] || start=(--finetune-from-model "$run-$before/checkpoint_best.pt")
    train "$run" "$data" "$updates" "$arguments" "${start[@]}"
    translate "$run" "$data"
    ablations add "$folder" --common "$common"
    rm -f "$run"/checkpoint*.pt "$run-$before"/checkpoint*.pt
}

# train RUN DATA UPDATES ARGUMENTS [WHAT IT BEGINS WITH]
train() {
    local updates=$3 arguments=$4 every words
    every=$((updates > validations ? updates / validations : 1))
    read -ra words <<<"$arguments"
    words=("${model[@]}" "${optimization[@]}" "${validation[@]}" "${extra[@]}" "${words[@]}")
    begin "$1" "${5:+, after $updates_before updates of $before}"
    [ ! -e "$1/trained" ] || return 0
    say "training ${1#"$out/"}: $updates updates"
    supervise fairseq-train "$2" --user-dir "$repo/rdrop_fairseq" --task translation \
        --seed "$seed" --max-update "$updates" --total-num-update "$updates" \
        --validate-interval-updates "$every" --validate-interval 1000000 \
        --save-interval-updates "$every" --save-interval 1000000 --keep-interval-updates 1 \
        --no-epoch-checkpoints --distributed-world-size 1 "${precision_flags[@]}" \
        --save-dir "$1" --log-format json --log-interval 10 --log-file "$1/train.log" \
        "${words[@]}" "${@:5}" \
        >"$1/output" 2>&1 || die "the training $1 stopped; its file output says why"
    touch "$1/trained"
}

# begin RUN AFTER: what is there of it may go on with the same settings. Notes the commit that it begins with.
begin() {
    mkdir -p "$1"
    # what was lost after the training has to be trained again
    [ -e "$1/generate.log" ] || [ -e "$1/checkpoint_best.pt" ] || rm -f "$1/trained"
    [ -e "$1/trained" ] || has_checkpoint "$1" || rm -f "$1/settings" "$1/commit"
    keep_settings "$1/settings" "$common $arguments $updates updates$2" \
        "remove that folder to train it again"
    [ -e "$1/commit" ] || note_commit "$1/commit"
    keep_whole_checkpoint "$1"
}

note_commit() {
    PYTHONPATH=$repo python -c 'from rdrop_tools import manifest; print(manifest.commit())' >"$1.tmp"
    mv "$1.tmp" "$1"
}

# translate RUN DATA
translate() {
    [ ! -e "$1/generate.log" ] || return 0
    supervise fairseq-generate "$2" --user-dir "$repo/rdrop_fairseq" --task translation \
        --path "$1/checkpoint_best.pt" --beam "$beam" --remove-bpe sentencepiece --max-tokens 4096 \
        "${precision_flags[@]}" >"$1/generate.tmp" 2>>"$1/output" ||
        die "the translation with $1 failed; its file output says why"
    mv "$1/generate.tmp" "$1/generate.log"
}
