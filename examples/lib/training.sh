# shellcheck shell=bash
# train.sh of every task but translation, which has its own: settings.sh says what the benchmark has of its own.
#
#   task_flags, model, optimization, validation   arrays of arguments of fairseq-train
#   plain_criterion, rdrop_criterion              arrays, without --reg-alpha
#   rdrop_alpha, max_tokens, update_freq, max_updates
#   run_prefix   what the name of a run begins with, where it is not given; may be unset
#
# A program calls read_arguments and train_benchmark; in between it may change what the settings say. One
# with options of its own has its own `usage` and `declare_options`.

. "$lib/device.sh"
. "$lib/processes.sh"
. "$lib/run_folder.sh"
. "$lib/training_options.sh"

declare_options() {
    method_options
    training_options
}

method_options() {
    flag baseline "train without R-Drop, everything else equal"
    option alpha X '' "weight of the KL${rdrop_alpha:+ ($rdrop_alpha)}"
}

train_benchmark() {
    check_name
    check_alpha
    [ -e "$out/binarized" ] || die "there is no $out/binarized: run prepare.sh first"
    need_program fairseq-train

    nodes=1 node_rank=0 master=localhost:0
    choose_criterion
    choose_device
    choose_processes
    share_batches
    run=$out/${name:-${run_prefix-}$method-seed$seed}
    choose_pretrained
    train_run "$out/binarized" "$benchmark" "${task_flags[@]}" "${pretrained[@]}"
}

choose_criterion() {
    if [ -n "$baseline" ]; then
        method=baseline
        criterion=("${plain_criterion[@]}")
    else
        alpha=${alpha:-$rdrop_alpha}
        method=rdrop-alpha$alpha
        criterion=("${rdrop_criterion[@]}" --reg-alpha "$alpha")
    fi
}

# The published model, where prepare.sh linked to one.
choose_pretrained() {
    pretrained=()
    # -L: fairseq is to refuse a link whose file is gone, not to train from scratch
    if [ -L "$out/pretrained.pt" ] || [ -e "$out/pretrained.pt" ]; then
        pretrained=(--finetune-from-model "$out/pretrained.pt")
    fi
}
