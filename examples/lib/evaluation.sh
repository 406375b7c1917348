# shellcheck shell=bash
# What evaluate.sh shares in every task but translation, which has its own: a run, its best checkpoint, and
# the scores of a test set.
#
#   default_subset   a setting: the set that is evaluated unless --subset names one (test)

. "$lib/checkpoints.sh"
. "$lib/device.sh"

declare_options() {
    argument run
    option subset 'test|valid' "${default_subset-test}" "the sentences to evaluate"
    flag cpu "evaluate on the CPU, even where there is a GPU"
    option out DIR "$repo/runs/$benchmark" "the folder that prepare.sh made"
}

# evaluate_run ARGUMENTS: the program's `evaluate LOG` makes the log, `scores LOG` prints a NAME VALUE
# a line, which go to $out/$run/SUBSET.scores too.
evaluate_run() {
    read_arguments "$@"
    need_run
    checkpoint_file=$out/$run/checkpoint_best.pt
    need_checkpoint "$checkpoint_file"
    local log=$out/$run/$subset.log
    hold "$out/$run/.$subset.log.lock" "$log"
    if [ "$log" -nt "$checkpoint_file" ]; then
        say "already there: $log"
    else
        precision=fp32
        choose_device
        say "evaluating $run on $subset"
        dated_by_its_start "$log.tmp" evaluate "$log.tmp" || die "the evaluation stopped, the lines above say why"
        mv "$log.tmp" "$log"
    fi
    if [ ! -w "$out/$run" ]; then
        scores "$log"
        return
    fi
    scores "$log" >"$out/$run/$subset.scores.tmp"
    mv "$out/$run/$subset.scores.tmp" "$out/$run/$subset.scores"
    cat "$out/$run/$subset.scores"
}
