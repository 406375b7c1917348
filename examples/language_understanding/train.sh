#!/usr/bin/env bash
# Trains on labelled sentences with R-Drop, or without it, as settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/device.sh"
. "$lib/processes.sh"
. "$lib/run_folder.sh"

usage() {
    cat <<END
Usage: bash examples/language_understanding/train.sh $benchmark [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Trains with R-Drop on what prepare.sh made; an interrupted training continues.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
}

declare_options() {
    flag baseline "fairseq's own criterion, everything else equal"
    option alpha X "${alpha-}" "weight of the KL"
    option seed N 1 "of the random numbers"
    option train_set RUN train "what to train on: train-N has N labels, semi-N also the rest without"
    option max_updates N '' "how long to train (as the settings say for the set)"
    option precision 'fp16|bf16|fp32' '' "of the numbers (fp16 on a GPU, else fp32)"
    flag cpu "train on the CPU, even where there is a GPU"
    option processes N '' "on this machine, one for each GPU (as many GPUs as can share an update)"
    option name RUN '' "of the run (train-rdrop-alpha${alpha:-A}-seed1 or train-baseline-seed1)"
    option out DIR "$repo/runs/$benchmark" "of prepare.sh"
    pass_on extra
}

nodes=1 node_rank=0 master=localhost:29500 # one machine

main() {
    read_arguments "$@"
    check_name
    [ -e "$out/binarized" ] || die "there is no $out/binarized: run prepare.sh first"
    [ -e "$out/binarized/input0/$train_set.bin" ] ||
        die "there is no set $train_set in $out/binarized: see --train-set"
    need_program fairseq-train
    max_updates=${max_updates:-${updates_of[$train_set]-}}
    [ -n "$max_updates" ] || die "the settings do not say how long to train on $train_set: give --max-updates"

    choose_criterion
    choose_device
    choose_processes
    share_batches
    begin_run "$train_set-$kind-seed$seed" "$train_set"
    if is_finished; then
        say "already trained: $run"
        return
    fi
    train
    finish_run
    say "trained: $run"
}

choose_criterion() {
    if [ -n "$baseline" ]; then
        kind=baseline
        criterion=(--criterion sentence_prediction)
    else
        kind=rdrop-alpha$alpha
        criterion=(--criterion rdrop_sentence_prediction --reg-alpha "$alpha")
    fi
    [ -z "$regression" ] || criterion+=(--regression-target)
}

train() {
    say "training on $train_set in $run: $all_processes x $update_freq_each batches of" \
        "$batch_size sentences an update, $precision on $device"
    local start=()
    [ ! -e "$out/roberta" ] || start=(--finetune-from-model "$out/roberta/model.pt")
    launch "$out/binarized" --user-dir "$repo/rdrop_fairseq" --task sentence_prediction \
        --train-subset "$train_set" --num-classes "$num_classes" --init-token 0 --separator-token 2 \
        "${start[@]}" "${model[@]}" "${optimization[@]}" --total-num-update "$max_updates" \
        "${criterion[@]}" "${report[@]}" --max-tokens "$max_tokens" --batch-size "$batch_size" \
        --required-batch-size-multiple 1 --update-freq "$update_freq_each" \
        --max-update "$max_updates" "${precision_flags[@]}" "${validation[@]}" \
        --seed "$seed" --save-dir "$run" --log-format json --log-interval 50 \
        --log-file "$run/train.log" "${extra[@]}" ||
        die "the training stopped, the lines above say why$(and_continue)"
}

main "$@"
