#!/usr/bin/env bash
# Trains on a benchmark with R-Drop, or without it, as its settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/device.sh"
. "$lib/processes.sh"
. "$lib/run_folder.sh"

usage() {
    cat <<END
Usage: bash examples/translation/train.sh $benchmark [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Trains with R-Drop on what prepare.sh made; an interrupted training continues.
The benchmarks are ${benchmarks// /, }.

$(describe_options)

An update is made of ${max_tokens-max_tokens} tokens x ${update_freq-update_freq}, however many processes share them.
END
}

declare_options() {
    flag baseline "plain label smoothing, everything else equal"
    option alpha X "${alpha-}" "weight of the KL"
    option seed N 1 "of the random numbers"
    flag reverse "translate in the other direction"
    option max_updates N "${max_updates-}" "how long to train"
    option precision 'fp16|bf16|fp32' '' "of the numbers (fp16 on a GPU, else fp32)"
    flag cpu "train on the CPU, even where there is a GPU"
    option processes N '' "on this machine, one for each GPU (as many GPUs as can share an update)"
    option nodes N 1 "machines, each of which runs this script"
    option node_rank R 0 "the number of this machine, from 0"
    option master HOST:PORT localhost:29500 "the first machine, and a free port there"
    option name RUN '' "of the run (rdrop-alpha${alpha:-A}-seed1 or baseline-seed1)"
    option out DIR "$repo/runs/$benchmark" "of prepare.sh"
    pass_on extra
}

main() {
    read_arguments "$@"
    check_name
    check_machines
    [ -e "$out/binarized" ] || die "there is no $out/binarized: run prepare.sh first"
    need_program fairseq-train

    choose_direction
    choose_criterion
    choose_device
    choose_processes
    share_batches
    begin_run "$(run_name)" "$source-$target"
    if is_finished; then
        say "already trained: $run"
        return
    fi
    train
    if [ "$node_rank" = 0 ]; then finish_run; fi
    say "trained: $run"
}

check_machines() {
    [[ $node_rank =~ ^(0|[1-9][0-9]*)$ && $node_rank -lt $nodes ]] ||
        refuse "--node-rank is from 0 to $((nodes - 1)), not '$node_rank'"
    [[ $master =~ .:[0-9]+$ ]] || refuse "--master is HOST:PORT, not '$master'"
    [ -z "${WORLD_SIZE:-}" ] ||
        die "this script starts torchrun itself: run it alone, with --processes and --nodes"
}

choose_direction() {
    read_languages
    if [ -n "$reverse" ]; then read -r source target <<<"$target $source"; fi
}

choose_criterion() {
    if [ -n "$baseline" ]; then
        criterion=(--criterion label_smoothed_cross_entropy --label-smoothing "$label_smoothing")
    else
        criterion=(--criterion rdrop_label_smoothed_cross_entropy
            --label-smoothing "$label_smoothing" --reg-alpha "$alpha")
    fi
}

train() {
    say "training $source-$target in $run: $all_processes x $update_freq_each batches of" \
        "$max_tokens tokens an update, $precision on $device"
    launch "$out/binarized" --user-dir "$repo/rdrop_fairseq" --task translation \
        --source-lang "$source" --target-lang "$target" \
        "${model[@]}" "${optimization[@]}" "${criterion[@]}" \
        --max-tokens "$max_tokens" --update-freq "$update_freq_each" --max-update "$max_updates" \
        "${precision_flags[@]}" "${validation[@]}" --eval-bleu-remove-bpe "$(joining_of_subwords)" \
        --seed "$seed" --save-dir "$run" --log-format json --log-interval 50 \
        --log-file "$run/train.log" --tensorboard-logdir "$run/tensorboard" "${extra[@]}" ||
        die "the training stopped, the lines above say why$(and_continue)"
}

main "$@"
