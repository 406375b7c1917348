# shellcheck shell=bash
# The trainings of the quickstart, in a budget of time: a plain one, and its end with R-Drop or without.

folder_of() {
    local of_seed=-seed$seed
    [ "$seed" != 1 ] || of_seed=''
    echo "$work/$1-${minutes}min$of_seed"
}

# Until near the end plain training learns more in the same time. So this part has one pass and no KL, and is
# the same with R-Drop and without. Sets $constant, the updates at the full learning rate, which also measure
# the machine, and $total, those that a plain training has in the time.
train_start() {
    local folder last
    folder=$(folder_of start)
    mkdir -p "$folder"
    keep_whole_checkpoint "$folder"
    # without a checkpoint it begins anew
    [ -e "$folder/checkpoint_last.pt" ] || rm -f "$folder"/{settings,train.log,constant_updates,updates}
    keep_settings "$folder/settings" "$(training_settings)" "$begin_anew"
    if [ ! -e "$folder/constant_updates" ]; then
        say "plainly, at a constant learning rate until minute $(calculate "$minutes * $constant_share")"
        fairseq_train "$folder" "$constant_share" --reg-alpha 0 \
            --lr-scheduler fixed --warmup-updates "$warmup_updates"
        note_last_update "$folder" constant_updates
    fi
    constant=$(cat "$folder/constant_updates")
    total=$(calculate "int($constant / $constant_share)")
    if ! already_made "$folder/updates"; then
        last=$(calculate "int($total * $plain_share)")
        say "plainly, at a falling learning rate until update $last"
        train_at_falling_rate "$folder" "$plain_share" --reg-alpha 0 \
            --warmup-updates "$constant" --total-num-update "$total" --max-update "$last"
        note_last_update "$folder" updates
    fi
    rm -f "$folder"/checkpoint_*_*.pt "$folder/checkpoint_best.pt"
}

# train_end rdrop|plain ALPHA COST: goes on from there to a learning rate of zero, and makes model.pt. An
# update takes the time of COST plain ones.
train_end() {
    local folder start last rate
    folder=$(folder_of "$1")
    mkdir -p "$folder"
    has_checkpoint "$folder" || [ -e "$folder/model.pt" ] || rm -f "$folder/settings"
    keep_settings "$folder/settings" "$(training_settings) alpha $2 cost $3" "$begin_anew"
    if ! already_made "$folder/model.pt"; then
        keep_whole_checkpoint "$folder"
        [ -e "$folder/checkpoint_last.pt" ] || copy_start "$folder"
        start=$(cat "$(folder_of start)/updates")
        last=$(calculate "int($start + ($total - $start) / $3)")
        rate=$(calculate "$peak_rate * ($total - $start) / ($total - $constant)")
        say "from there until update $last, alpha $2"
        train_at_falling_rate "$folder" 1 --reg-alpha "$2" \
            --lr "$rate" --warmup-updates "$start" --total-num-update "$last" --max-update "$last"
        mv "$folder/checkpoint_last.pt" "$folder/model.pt" # the loss is no judge of the best by BLEU
    fi
    rm -f "$folder"/checkpoint*.pt
}

# What a finished training must have had, to be taken for one of these settings.
training_settings() {
    echo "${model[*]} ${optimization[*]} $label_smoothing x $max_tokens" \
        "warmup $warmup_updates constant $constant_share plain $plain_share"
}

# copy_start FOLDER: the checkpoint comes last, as it is what says that all is there.
copy_start() {
    local start
    start=$(folder_of start)
    cp "$start/train.log" "$1"
    cp "$start/checkpoint_last.pt" "$1/checkpoint_last.pt.tmp"
    mv "$1/checkpoint_last.pt.tmp" "$1/checkpoint_last.pt"
}

train_at_falling_rate() {
    fairseq_train "$@" --reset-lr-scheduler --lr-scheduler polynomial_decay
}

# note_last_update FOLDER FILE
note_last_update() {
    grep -o 'num_updates": "[0-9]*' "$1/train.log" | tail -n 1 | tr -dc 0-9 >"$1/$2.tmp"
    mv "$1/$2.tmp" "$1/$2"
}

# fairseq_train FOLDER SHARE ARGUMENTS...: until SHARE of the budget is used up, resumes included. Plain
# training has this criterion with alpha 0, since fairseq continues no checkpoint with another criterion.
fairseq_train() {
    local folder=$1 hours
    hours=$(calculate "$minutes * $2 / 60")
    shift 2
    rm -f "$folder/output"
    mkfifo "$folder/output"
    tee -a "$log" <"$folder/output" | python "$repo/scripts/show_training.py" &
    local printer=$! status=0
    launch "$work/binarized" --user-dir "$repo/rdrop_fairseq" --task translation \
        "${model[@]}" --criterion rdrop_label_smoothed_cross_entropy \
        --label-smoothing "$label_smoothing" --max-tokens $((max_tokens / all_processes)) \
        --seed "$seed" "${optimization[@]}" "$@" \
        --stop-time-hours "$hours" "${precision_flags[@]}" \
        --save-dir "$folder" --no-epoch-checkpoints --save-interval-updates 200 \
        --keep-interval-updates 1 --log-format json --log-interval 10 \
        --log-file "$folder/train.log" >"$folder/output" 2>&1 || status=$?
    wait "$printer"
    rm "$folder/output"
    return "$status"
}
