#!/usr/bin/env bash
# One plain training, and continuations of it with R-Drop from several points on: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../../lib/common.sh"
. "$lib/lock.sh"
. "$lib/memory.sh"
. "$lib/signals.sh"
. "$repo/examples/translation/quickstart/settings.sh"

usage() {
    cat <<END
Usage: bash examples/ablations/late_start/run.sh DATA [OPTIONS]

Trains the quickstart's model plainly on DATA (its folder "binarized"). Then it continues from several points of
that training, each time with a line of continuations.txt, on one CPU core. All have equal computing, counted in plain
updates, and a learning rate that falls to zero. Scores of the validation set go to scores.csv.
What is finished is not done again. An interrupted training starts again from its beginning.

$(describe_options)
END
}

main() {
    argument data
    option updates N 3400 "computing of a training, in plain updates"
    option seed N 1 "random seed"
    option dropout P '' "of all of them, in place of the quickstart's"
    option criterion NAME '' "of all of them, in place of R-Drop's; for SimCut with --continuations $task_dir/continuations_simcut.txt"
    option continuations FILE "$task_dir/continuations.txt" "the table of the continuations"
    option test GLOB '' "translate the test set with the finished continuations of such a name"
    option out DIR "$repo/runs/late-start" "where everything goes"
    parse_options "$@"
    [ -n "$data" ] || refuse "name the folder DATA"
    [ $((updates % 20)) = 0 ] || refuse "--updates must be a multiple of 20, not '$updates': continuations begin at twentieths"
    check_out
    read_continuations
    use_installation
    need_program fairseq-train
    keep_memory
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    model+=(${dropout:+--dropout "$dropout"})
    benchmark="$updates updates${dropout:+, dropout $dropout}${criterion:+, $criterion}"
    work=$(tr ' ' - <<<"${benchmark//,/}")
    work=$out/$work-seed$seed
    mkdir -p "$work"
    hold "$work/.lock" "$work"
    half=$((updates / 2))
    train_plainly
    local line
    # shellcheck disable=SC2086
    for line in "${lines[@]}"; do continue_plain $line; done
}

# Sets $lines, without comments.
read_continuations() {
    [ -f "$continuations" ] || refuse "--continuations: there is no file '$continuations'"
    mapfile -t lines < <(sed 's/#.*//; /|/!d; s/|/ /g' "$continuations")
    [ ${#lines[@]} -gt 0 ] || refuse "--continuations: '$continuations' has no line NAME | START | COST | ARGUMENTS"
}

# Constant for half of the updates, as in the quickstart; a checkpoint at each twentieth of them.
train_plainly() {
    # alpha 0 is plain training, and fairseq lets no other criterion continue it
    train "$work/constant" "$half" --reg-alpha 0 --lr-scheduler fixed --warmup-updates "$warmup_updates"
    train "$work/plain" "$updates" --reg-alpha 0 --restore-file "$work/constant/checkpoint_last.pt" \
        --reset-lr-scheduler --lr-scheduler polynomial_decay --warmup-updates "$half" \
        --total-num-update "$updates" \
        --save-interval-updates $((updates / 20)) --keep-interval-updates 20
}

# continue_plain NAME START COST ARGUMENTS...: from update START of the plain training on, learning rate included.
continue_plain() {
    local name=$1 start last rate from
    if [ "$name" != plain ]; then
        start=$(calculate "int($updates * $2 + 0.5)")
        last=$(calculate "int($start + ($updates - $start) / $3)")
        rate=$(calculate "$peak_rate * ($updates - $start) / ($updates - $half)")
        from=$(echo "$work"/plain/checkpoint_*_"$start".pt)
        # fairseq makes none where an epoch ends
        [ -e "$from" ] || die "no checkpoint at update $start: $name needs another start in $continuations"
        train "$work/$name" "$last" "${@:4}" --reset-lr-scheduler --lr-scheduler polynomial_decay \
            --restore-file "$from" --lr "$rate" --warmup-updates "$start" --total-num-update "$last"
    fi
    translate "$name" valid
    # shellcheck disable=SC2053
    if [[ -n $test && $name == $test ]]; then translate "$name" test; fi
    score "$name" >"$work/$name/scores"
    python "$repo/scripts/seed_scores.py" add "$out/scores.csv" "$work/$name/scores" \
        benchmark="$benchmark" method="$name" seed="$seed"
    say "$name: $(paste -s -d , "$work/$name/scores")"
}

# train FOLDER UPDATES ARGUMENTS...
train() {
    [ -e "$1/trained" ] || rm -rf "$1" # it begins anew
    mkdir -p "$1"
    keep_settings "$1/settings" \
        "$data ${model[*]} ${optimization[*]} $label_smoothing x $max_tokens ${*:2}" \
        "remove that folder to train it again, or name another one with --out"
    [ ! -e "$1/trained" ] || return 0
    say "training ${1#"$out/"} until update $2"
    supervise fairseq-train "$data" --user-dir "$repo/rdrop_fairseq" --task translation --cpu \
        "${model[@]}" --criterion "${criterion:-rdrop_label_smoothed_cross_entropy}" \
        --label-smoothing "$label_smoothing" --max-tokens "$max_tokens" --seed "$seed" \
        "${optimization[@]}" --no-epoch-checkpoints --save-interval 1000000 \
        --validate-interval 1000000 --max-update "$2" --save-dir "$1" \
        --log-format json --log-interval 10 --log-file "$1/train.log" \
        --distributed-world-size 1 "${@:3}" >"$1.output" 2>&1 ||
        die "the training $1 stopped; $1.output says why"
    touch "$1/trained"
}

# translate NAME SET
translate() {
    local output=$work/$1/generate-$2.log
    [ -e "$output" ] || rm -f "$output.settings"
    keep_settings "$output.settings" "${search[*]}" "remove $output to translate again"
    [ ! -e "$output" ] || return 0
    supervise fairseq-generate "$data" --user-dir "$repo/rdrop_fairseq" --cpu --gen-subset "$2" \
        --path "$work/$1/checkpoint_last.pt" "${search[@]}" --remove-bpe sentencepiece \
        --max-tokens 4000 >"$output.tmp" 2>>"$work/$1.output" ||
        die "the translation with $work/$1 failed; $work/$1.output says why"
    mv "$output.tmp" "$output"
}

# score NAME: a NAME VALUE a line, for scripts/seed_scores.py.
score() {
    local set line
    echo "valid ppl $(grep -o '"valid_ppl": "[0-9.]*' "$work/$1/train.log" | tail -n 1 | cut -d '"' -f 4)"
    for set in valid test; do
        [ -e "$work/$1/generate-$set.log" ] || continue
        line=$(python "$repo/scripts/score_bleu.py" --sys "$work/$1/generate-$set.log" | sed -n 1p)
        echo "$set BLEU $(sed 's/^[^=]* = \([0-9.]*\).*/\1/' <<<"$line")"
        echo "$set length ratio $(sed 's/.* ratio = \([0-9.]*\).*/\1/' <<<"$line")"
    done
}

main "$@"
