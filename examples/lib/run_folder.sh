# shellcheck shell=bash
# The folder of a training: the settings it was begun with, and whether it is finished.

. "$lib/checkpoints.sh"

# What --name may be: the name of a folder next to those of prepare.sh.
check_name() {
    case $name in
        corpus | subwords | binarized | binarized.tmp | orig | settings | settings.tmp |\
            binarized-bidirectional | binarized-bidirectional.tmp | bidirectional.tmp |\
            dict.txt | pretrained.pt | manifest.json | manifest.json.tmp | preprocess.log)
            refuse "--name $name is what prepare.sh makes in $out: choose another name"
            ;;
    esac
}

check_alpha() {
    [ -z "$baseline" ] || [ -z "$alpha" ] ||
        refuse "--alpha is the weight of the KL, which --baseline does not have"
}

# train_run DATA WHAT ARGUMENTS...: trains $run, unless it is finished, on the binarized DATA. WHAT names the
# data in its settings; the arguments of fairseq-train are those that the benchmarks do not share.
train_run() {
    begin_run "$2"
    if is_finished; then
        say "already trained: $run"
        return
    fi
    say "training $run: $all_processes x $update_freq_each batches of $max_tokens_each tokens an update," \
        "$precision on $device"
    local arguments=(--user-dir "$repo/rdrop_fairseq"
        "${model[@]}" "${optimization[@]}" "${criterion[@]}" --max-update "$max_updates"
        "${precision_flags[@]}" "${validation[@]}"
        --seed "$seed" --save-dir "$run" --log-format json --log-interval 50
        --log-file "$run/train.log" "${@:3}" "${extra[@]}")
    say "in one process: fairseq-train$(printf ' %q' "$1" --max-tokens "$max_tokens" \
        --update-freq "$update_freq" "${arguments[@]}" --distributed-world-size 1)"
    launch "$1" --max-tokens "$max_tokens_each" --update-freq "$update_freq_each" "${arguments[@]}" ||
        die "the training stopped, the lines above say why$(and_continue)"
    if [ "$node_rank" = 0 ]; then finish_run; fi
    say "trained: $run"
}

# begin_run WHAT: opens the folder $run; refuses other settings than it was begun with. max_updates is not one of
# them, unless the learning rate or the beginning of R-Drop depends on it.
begin_run() {
    settings="$1 ${criterion[*]} ${model[*]} ${optimization[*]} --seed $seed $precision"
    settings+=" $max_tokens x $update_freq ${extra[*]}"
    mkdir -p "$run"
    if [ "$node_rank" = 0 ]; then
        hold "$run/.lock" "$run"
        # a mistyped setting that has trained nothing is not kept
        has_checkpoint "$run" || rm -f "$run/settings"
        keep_settings "$run/settings" "$settings" \
            "name another run with --name, or remove that file to continue with these"
        keep_whole_checkpoint "$run"
    fi
}

# True if this run already trained to max_updates with these settings. fairseq itself would go on, since it
# counts its --patience from zero when it is started again.
is_finished() { [ "$(cat "$run/finished" 2>/dev/null)" = "$settings, $max_updates updates" ]; }

finish_run() {
    # fairseq may train nothing at all and still end well
    [ -e "$run/checkpoint_last.pt" ] || die "fairseq-train made no checkpoint in $run"
    echo "$settings, $max_updates updates" >"$run/finished"
}

and_continue() { [ ! -e "$run/checkpoint_last.pt" ] || echo "; the same command continues it"; }
