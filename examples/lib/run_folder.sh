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

# begin_run DATA: opens the folder $run; refuses other settings than it was begun with, max_updates aside.
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
