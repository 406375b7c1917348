#!/usr/bin/env bash
# Trains on a benchmark with R-Drop, or without it, as its settings.sh says: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/benchmark.sh"
. "$lib/device.sh"
. "$lib/memory.sh"
. "$lib/processes.sh"
. "$lib/run_folder.sh"
. "$lib/training_options.sh"

declare_options() {
    flag baseline "train with plain label smoothing, everything else equal"
    flag simcut "train with SimCut in place of R-Drop"
    option alpha X '' "weight of the KL${rdrop_alpha:+ ($rdrop_alpha, SimCut $simcut_alpha)}"
    option schedule 'paper|late' paper \
        "paper: KL from the first update on; late: after ${late_start:-a share}${late_start:+%} of the updates"
    flag reverse "translate in the other direction"
    flag bidirectional "train both directions at once, on what prepare.sh --bidirectional made"
    option from RUN '' "start with the parameters of the best checkpoint of this run"
    option ema X '' "keep a moving average of the parameters with this decay, for evaluate.sh --ema"
    training_options
    option nodes N 1 "number of machines, each of which runs this script"
    option node_rank R 0 "number of this machine, counted from 0"
    option master HOST:PORT localhost:0 "the first machine, and a free port there; 0: any, for one machine alone"
}

# read_arguments (lib/benchmark.sh) sources the benchmark's settings.sh and calls declare_options. The
# choose_* functions set the variables that train_run uses.
main() {
    read_arguments "$@"
    check_name
    check_alpha
    check_choices
    check_machines
    choose_data
    need_program fairseq-train

    choose_direction
    choose_criterion
    choose_device
    choose_moving_average
    if [ "$device" = cpu ]; then
        keep_memory
        # A user who sets OMP_NUM_THREADS or --processes has divided the cores already.
        [ -n "$processes${OMP_NUM_THREADS-}" ] || [ "$nodes" != 1 ] || choose_processes_of_cpu
    fi
    choose_processes
    share_batches
    run=$out/${name:-$(run_name)}
    choose_start
    train_run "$data" "$source-$target${bidirectional:+ bidirectional}${from:+ from $from}" \
        --task translation --source-lang "$source" --target-lang "$target" \
        --eval-bleu-remove-bpe "$(joining_of_subwords)" --tensorboard-logdir "$run/tensorboard" "${start[@]}"
}

check_choices() {
    [ -z "$baseline" ] || [ -z "$simcut" ] || refuse "give --baseline or --simcut, not both"
    [ -z "$baseline" ] || [ "$schedule" = paper ] ||
        refuse "--schedule $schedule says when there is a KL, which --baseline does not have"
    [ -z "$reverse" ] || [ -z "$bidirectional" ] || refuse "give --reverse or --bidirectional, not both"
    [ -z "$from" ] || [ "$from" != "$name" ] || refuse "--from must be another run than --name, $name"
    [[ -z "$ema" || $ema =~ ^0?\.[0-9]*[1-9][0-9]*$ ]] ||
        refuse "--ema must be between 0 and 1, not '$ema'"
}

check_machines() {
    [[ $node_rank =~ ^(0|[1-9][0-9]*)$ && $node_rank -lt $nodes ]] ||
        refuse "--node-rank is from 0 to $((nodes - 1)), not '$node_rank'"
    [[ $master =~ .:[0-9]+$ ]] || refuse "--master is HOST:PORT, not '$master'"
    [ "$nodes" = 1 ] || [ "${master##*:}" != 0 ] ||
        refuse "$nodes machines need --master HOST:PORT, the first of them and a port that is free there"
    [ -z "${WORLD_SIZE:-}" ] ||
        die "this script starts torchrun itself: run it alone, with --processes and --nodes"
}

choose_data() {
    data=$out/binarized${bidirectional:+-bidirectional}
    [ -e "$data" ] ||
        die "there is no $data: run prepare.sh${bidirectional:+ --bidirectional} first"
}

choose_direction() {
    read_languages
    if [ -n "$reverse" ]; then read -r source target <<<"$target $source"; fi
}

choose_criterion() {
    method=${baseline:+baseline}${simcut:+simcut}
    method=${method:-rdrop}
    case $method in
        baseline) criterion=label_smoothed_cross_entropy ;;
        rdrop) criterion=rdrop_label_smoothed_cross_entropy alpha=${alpha:-$rdrop_alpha} ;;
        simcut) criterion=simcut_label_smoothed_cross_entropy alpha=${alpha:-$simcut_alpha} ;;
    esac
    criterion=(--criterion "$criterion" --label-smoothing "$label_smoothing")
    [ "$method" = baseline ] || criterion+=(--reg-alpha "$alpha")
    [ "$schedule" = paper ] ||
        criterion+=(--rdrop-start-update $((max_updates * late_start / 100)))
}

# In half precision an average would stand still: what it moves in an update is rounded away.
choose_moving_average() {
    [ -n "$ema" ] || return 0
    extra=(--store-ema --ema-decay "$ema" "${extra[@]}")
    [ "$precision" = fp32 ] || extra=(--ema-fp32 "${extra[@]}")
}

# What fairseq starts with as long as the run has no checkpoint of its own.
choose_start() {
    start=()
    [ -n "$from" ] || return 0
    local best=$out/$from/checkpoint_best.pt
    start=(--finetune-from-model "$best")
    [ ! -e "$run/checkpoint_last.pt" ] || return 0
    [ -e "$best" ] || die "there is no $best: train $from first"
    is_whole "$best" || die "$best is cut short or damaged: continue its training"
}

run_name() {
    local words=("$method")
    [ -z "$reverse" ] || words=("$source-$target" "${words[@]}")
    [ -z "$bidirectional" ] || words=(bidirectional "${words[@]}")
    [ "$method" = baseline ] || words+=("alpha$alpha")
    [ "$schedule" = paper ] || words+=("$schedule")
    words+=("seed$seed" ${from:+"from-$from"})
    (IFS=-; echo "${words[*]}")
}

main "$@"
