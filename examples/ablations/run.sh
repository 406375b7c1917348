#!/usr/bin/env bash
# Runs the trainings of rows.txt on real text, and shows their results: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$lib/binarize.sh"
. "$lib/checkpoints.sh"
. "$lib/device.sh"
. "$lib/lock.sh"
. "$lib/memory.sh"
. "$lib/signals.sh"
. "$task_dir/settings.sh"
. "$task_dir/training.sh"

usage() {
    cat <<END
Usage: bash examples/ablations/run.sh [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Prepares the corpora of examples/ablations/rows.txt, runs its trainings and shows their results. Each
finished training is a row of results.csv and is not run again; an interrupted one continues.

$(describe_options)
END
}

read_options() {
    option seeds N 3 "how many trainings of each row"
    option only GLOB '*' "run only the rows whose name matches, as 'alpha-*' or 'interface-es-5000/*'"
    option jobs N '' "how many trainings run at the same time (one a GPU or, without any, one a core)"
    option orig DIR '' "take the archives of Multi30k from DIR; they are downloaded otherwise"
    option rows FILE "$task_dir/rows.txt" "the table of the trainings"
    option bpe_size N "$bpe_size" "number of sentencepiece pieces"
    option validations N "$validations" "validations of a training, at equal distances"
    flag cpu "train on the CPU, even where there is a GPU"
    option out DIR "$repo/runs/ablations" "where everything goes"
    pass_on extra
    parse_options "$@"
    check_out
}

main() {
    read_options "$@"
    use_installation
    need_program fairseq-train
    precision=fp32 # the differences are small
    choose_device
    if [ "$device" = cpu ]; then keep_memory; fi
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    mkdir -p "$out"
    hold "$out/.lock" "$out"
    common="${model[*]} ${optimization[*]} ${validation[*]}${extra:+ ${extra[*]}}"
    common+=", $bpe_size subwords, $validations validations, $precision, beam $beam"
    list_trainings
    prepare_corpora
    failed=''
    run_trainings
    ablations report --seeds "$seeds"
    [ -z "$failed" ] || die "a training failed; the lines above say which"
}

ablations() { python "$repo/scripts/ablations.py" "$1" --rows "$rows" --out "$out" "${@:2}"; }

# The array todo: a line for each training that results.csv does not have.
list_trainings() {
    local listed
    listed=$(ablations list --seeds "$seeds" --only "$only" --common "$common")
    todo=()
    [ -z "$listed" ] || mapfile -t todo <<<"$listed"
    say "${#todo[@]} trainings are to be run"
}

prepare_corpora() {
    local corpus
    for corpus in $(printf '%s\n' "${todo[@]}" | cut -f 2 | sort -u); do
        case $corpus in
            multi30k-*) prepare_multi30k "$corpus" ;;
            interface-*) prepare_interface "$corpus" ;;
            *) die "$rows names the corpus $corpus, which is neither multi30k-N nor interface-LANG-N" ;;
        esac
    done
}

prepare_multi30k() {
    [ -e "$out/$1/corpus" ] || get_archives
    supervise bash "$repo/examples/translation/prepare.sh" multi30k_en_de --out "$out/$1" \
        ${orig:+--orig "$orig"} --train-pairs "${1##*-}" --bpe-size "$bpe_size" --bidirectional
}

# One download for all sizes.
get_archives() {
    [ -z "$orig" ] || return 0
    orig=$out/orig
    supervise python "$repo/scripts/download.py" --to "$orig" \
        --corpus "$repo/examples/translation/multi30k_en_de/corpus.json"
}

# The quickstart's corpus.
prepare_interface() {
    local folder=$out/$1 lang=${1#interface-}
    lang=${lang%-*}
    mkdir -p "$folder"
    keep_settings "$folder/settings" "$bpe_size subwords" "remove that folder to make it again"
    already_made "$folder/corpus" ||
        supervise python "$repo/scripts/prepare_home_assistant.py" --lang "$lang" \
            --wheel "$out/$home_assistant_wheel" --out "$folder/corpus" --train-pairs "${1##*-}"
    already_made "$folder/subwords" ||
        supervise python "$repo/scripts/subwords.py" --corpus "$folder/corpus" --langs en "$lang" \
            --size "$bpe_size" --out "$folder/subwords"
    already_made "$folder/binarized" ||
        binarize "$folder/subwords" en "$lang" "$folder/binarized" "$folder/preprocess.log" ||
        die_of_preprocessing "$folder/preprocess.log"
}

# As many workers as jobs; who is free takes the next training. One that fails does not keep the others from
# running.
run_trainings() {
    local number worker
    if [ -z "$jobs" ] && [ "$gpus" -gt 0 ]; then jobs=$gpus; fi
    jobs=${jobs:-$(count_cores)}
    taken=$out/.taken
    rm -rf "$taken"
    mkdir "$taken"
    for ((number = 0; number < jobs; number++)); do
        in_background work "$number" <&0 &
        child+=" $!"
    done
    for worker in $child; do wait "$worker" || failed=yes; done
    child=''
}

# in_background COMMAND...: with the handling of signals, which a process in the background has lost.
in_background() {
    . "$lib/signals.sh"
    say_stopped() { :; }
    "$@"
}

work() {
    if [ "$gpus" -gt 0 ]; then take_gpu "$1"; fi
    local number
    for number in "${!todo[@]}"; do
        kill -0 $$ 2>/dev/null || exit 1 # run.sh itself was killed
        if mkdir "$taken/$number" 2>/dev/null; then
            in_background run_training "${todo[number]}" <&0 &
            child=$!
            wait "$child" || failed=yes
            child=''
        fi
    done
    [ -z "$failed" ]
}

# take_gpu NUMBER: of those that this program may use
take_gpu() {
    local may_use
    IFS=, read -ra may_use <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s , 0 $((gpus - 1)))}"
    export CUDA_VISIBLE_DEVICES=${may_use[$1 % gpus]}
}

main "$@"
