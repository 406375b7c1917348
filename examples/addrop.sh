#!/usr/bin/env bash
# Trains plainly, with R-Drop and with every AD-DROP, several seeds each: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

use_installation

usage() {
    cat <<END
Usage: bash examples/addrop.sh TASK BENCHMARK [OPTIONS] [-- OPTIONS OF train.sh]

Compares AD-DROP on a benchmark that prepare.sh has prepared: plain, R-Drop, and AD-DROP with each
attribution, with cross-tuning and without. Then, with --grid, gradient attribution for p and q of
0.1, 0.3, ... 0.9, drawn as a heat map. Finished runs are skipped on a second run.
TASK is a folder of examples/, such as translation.

$(describe_options)
END
}

main() {
    argument example
    argument benchmark
    option seeds N 3 "how many seeds for each training"
    option p X 0.3 "share of the attention weights that may be dropped"
    option q X 0.3 "probability with which each of these is dropped"
    flag grid "train for a grid of p and q too, one seed each"
    option metric NAME '' "metric of the heat map, by its name in the log, such as accuracy or bleu"
    flag lowest "take the lowest value of the metric as the best, as for loss"
    option out DIR '' "the folder that prepare.sh made (runs/BENCHMARK in the checkout)"
    pass_on extra
    parse_options "$@"
    [ -n "$benchmark" ] || refuse "name a task and a benchmark"
    [ -e "$repo/examples/$example/train.sh" ] || refuse "there is no examples/$example/train.sh"
    [ -z "$grid" ] || [ -n "$metric" ] ||
        refuse "--grid needs --metric: accuracy or bleu where the log has it, else loss with --lowest"
    out=${out:-$repo/runs/$benchmark}
    check_out

    local seed attribution
    for ((seed = 1; seed <= seeds; seed++)); do
        train "addrop-plain-seed$seed" --baseline
        train "addrop-rdrop-seed$seed"
        for attribution in gradient integrated attention random; do
            addrop "addrop-$attribution-seed$seed" --addrop-attribution "$attribution"
            addrop "addrop-$attribution-every-epoch-seed$seed" --addrop-attribution "$attribution" \
                --no-cross-tuning
        done
    done
    [ -z "$grid" ] || grid
}

grid() {
    seed=1
    for p in 0.1 0.3 0.5 0.7 0.9; do
        for q in 0.1 0.3 0.5 0.7 0.9; do
            addrop "addrop-p$p-q$q-seed1"
        done
    done
    python "$repo/scripts/plot_addrop_grid.py" "$out" --metric "$metric" ${lowest:+--lowest} \
        --out "$out/addrop-grid.png"
    say "the heat map is $out/addrop-grid.png"
}

# train RUN [OPTIONS OF train.sh]: a training, which is skipped where it is finished.
train() {
    bash "$repo/examples/$example/train.sh" "$benchmark" --out "$out" --name "$1" --seed "$seed" \
        "${extra[@]}" "${@:2}" || die "the training $1 failed, the lines above say why"
}

# addrop RUN [OPTIONS OF fairseq-train]: the same with fairseq's criterion replaced.
addrop() {
    local criterion=addrop_label_smoothed_cross_entropy attention=encoder
    [ "$example" != language_understanding ] || criterion=addrop_sentence_prediction
    [ "$example" != language_modeling ] || attention=decoder
    train "$1" --baseline -- --criterion "$criterion" --addrop-attention "$attention" \
        --addrop-p "$p" --addrop-q "$q" "${@:2}"
}

main "$@"
