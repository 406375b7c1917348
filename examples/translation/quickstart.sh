#!/usr/bin/env bash
# From nothing to a translation model trained with R-Drop, scored and drawn: see --help.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$lib/binarize.sh"
. "$lib/checkpoints.sh"
. "$lib/device.sh"
. "$lib/lock.sh"
. "$lib/memory.sh"
. "$lib/processes.sh"
. "$lib/signals.sh"
. "$task_dir/quickstart/settings.sh"

log=/dev/null # until it is known where everything goes
begin_anew="remove that folder, or name another one with --out"

usage() {
    cat <<END
Usage: bash examples/translation/quickstart.sh [OPTIONS]

Installs, makes a corpus of the interface strings of Home Assistant, trains a small Transformer
with R-Drop to translate them from English, scores it and draws its training curves.
Finished stages are skipped on a second run, and an interrupted run continues.

$(describe_options)
END
}

main() {
    read_options "$@"
    mkdir -p "$work"
    hold "$work/.lock" "$work"
    trap 'explain_exit $?' EXIT

    stage 1 "Installing"
    choose_environment
    PATH=$environment/bin:$PATH
    cpu='' precision='' # as suits this machine
    choose_device 2>>"$log"
    all_processes=1 nodes=1 node_rank=0 master=localhost:0
    if [ "$device" = cpu ]; then
        keep_memory
        choose_processes_of_cpu
    fi

    stage 2 "Getting the interface strings of Home Assistant"
    shown corpus_program

    stage 3 "Making the en-$lang corpus"
    make_corpus

    stage 4 "Training for $minutes minutes, at the end with R-Drop, alpha $rdrop_alpha"
    train_start
    train_end rdrop "$rdrop_alpha" "$rdrop_update"
    [ -z "$compare" ] || train_end plain 0 1

    stage 5 "Translating the test set"
    translate rdrop
    [ -z "$compare" ] || translate plain
    print_scores
    print_examples

    stage 6 "Drawing the training curves"
    draw_curves
    print_pointers
}

read_options() {
    option lang LANG de "target language: de, fr, es, nl, ..."
    option minutes X '' \
        "training time of each model ($training_minutes); uses a GPU where there is one"
    option seed N 1 "random seed"
    flag compare "also train the last tenth of the time without R-Drop, and compare the two"
    flag smoke "the same stages on a slice of the corpus, in less than two minutes"
    option out DIR "$repo/quickstart-runs" "where everything goes"
    parse_options "$@"
    if [ -n "$smoke" ]; then smoke_settings; fi
    check_out
    minutes=${minutes:-$training_minutes}
    [ "$(calculate "($minutes > 0)")" = 1 ] || refuse "--minutes must be above 0, not '$minutes'"
    mkdir -p "$out" || die "name another folder with --out"
    out=$(cd "$out" && pwd)
    check_out
    wheel=$out/$home_assistant_wheel
    work=$out/en-$lang${smoke:+-smoke}
    log=$work/quickstart.log
}

explain_exit() {
    case $1 in
        0) ;;
        130 | 143) ;; # say_stopped has said it
        *)
            echo "Failed; the log $log ends with:" >&2
            tail -n 10 "$log" >&2
            echo "Once that is fixed, the same command continues from here." >&2
            ;;
    esac
}

say_stopped() { shown echo "Interrupted. The same command continues from here."; }
stage() { printf '[%d/6] %s (after %d:%02d)\n' "$@" $((SECONDS / 60)) $((SECONDS % 60)) | tee -a "$log"; }
shown() { "$@" 2>&1 | tee -a "$log"; }
say() { shown echo "      $*"; }

# The .venv of the checkout or, where none can be made, the virtual environment that is active.
choose_environment() {
    environment=$repo/.venv
    if [ -w "$repo" ] || [ -e "$environment" ]; then
        shown bash "$repo/scripts/install.sh"
        return
    fi
    environment=${VIRTUAL_ENV:-}
    [ -n "$environment" ] ||
        die "$repo cannot be written to: activate a virtual environment that has the plugin"
    local missing
    missing=$("$environment/bin/python" -c '
import importlib.util
needed = "fairseq rdrop_fairseq rdrop_tools sacrebleu sentencepiece matplotlib tqdm".split()
print(*(name for name in needed if not importlib.util.find_spec(name)))')
    [ -z "$missing" ] || die "$repo cannot be written to, and $environment lacks $missing"
    say "$repo cannot be written to: using $environment"
}

corpus_program() {
    python "$repo/scripts/prepare_home_assistant.py" --lang "$lang" --wheel "$wheel" "$@"
}

make_corpus() {
    [ -e "$work/corpus" ] || rm -f "$work/settings"
    keep_settings "$work/settings" "${corpus_pairs:-all} pairs, $bpe_size subwords" "$begin_anew"
    already_made "$work/corpus" ||
        shown corpus_program --out "$work/corpus" ${corpus_pairs:+--limit "$corpus_pairs"}
    already_made "$work/subwords" ||
        shown python "$repo/scripts/subwords.py" --corpus "$work/corpus" \
            --langs en "$lang" --size "$bpe_size" --out "$work/subwords"
    already_made "$work/binarized" ||
        binarize "$work/subwords" en "$lang" "$work/binarized" "$log"
}

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

translate() {
    local folder
    folder=$(folder_of "$1")
    [ -e "$folder/generate.log" ] || rm -f "$folder/generate.settings"
    keep_settings "$folder/generate.settings" "${search[*]}" "remove $folder/generate.log to translate again"
    already_made "$folder/generate.log" && return
    supervise fairseq-generate "$work/binarized" --user-dir "$repo/rdrop_fairseq" \
        --source-lang en --target-lang "$lang" --path "$folder/model.pt" \
        "${search[@]}" --remove-bpe sentencepiece --max-tokens 4000 \
        >"$folder/generate.tmp" 2>>"$log"
    mv "$folder/generate.tmp" "$folder/generate.log"
}

print_scores() {
    local folder reference=$work/corpus/test.$lang
    folder=$(folder_of rdrop)
    {
        # rdrop_tools/translation/card.py reads beam and length penalty from this line.
        say "translated with ${search[*]}"
        shown python "$repo/scripts/score_bleu.py" --sys "$folder/generate.log" \
            --ref "$reference" --tokenize "$(tokenizer)"
    } | tee "$folder/generate.scores.tmp"
    mv "$folder/generate.scores.tmp" "$folder/generate.scores" # for the model card
    [ -z "$compare" ] || shown python "$repo/scripts/compare.py" --ref "$reference" \
        --tokenize "$(tokenizer)" "plain label smoothing=$(folder_of plain)/generate.log" \
        "R-Drop=$folder/generate.log"
}

tokenizer() {
    case $lang in
        zh*) echo zh ;;
        ja | ko | th) echo char ;;
        *) echo 13a ;;
    esac
}

print_examples() {
    local sentence
    for sentence in 0 1 2 3 4; do
        shown awk -F '\t' -v id="$sentence" '
            $1 == "S-" id { print "\n  source      " $2 }
            $1 == "T-" id { print "  reference   " $2 }
            $1 == "D-" id { print "  hypothesis  " $3 }' "$(folder_of rdrop)/generate.log"
    done
    shown echo
}

draw_curves() {
    local runs=("R-Drop=$(folder_of rdrop)/train.log")
    [ -z "$compare" ] || runs+=("plain label smoothing=$(folder_of plain)/train.log")
    shown python "$repo/scripts/plot_training.py" "${runs[@]}" --out "$work/training.png"
}

print_pointers() {
    local folder
    folder=$(folder_of rdrop)
    shown echo "
Model    $folder/model.pt
Curves   $work/training.png
Log      $log

To translate your own text:

  bash $(quoted "$repo/scripts/translate.sh") $(quoted "$folder") --lenpen 1.5 \\
    \"Turn on the light in the kitchen.\""
}

quoted() { printf %q "$1"; }

main "$@"
