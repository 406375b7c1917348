#!/usr/bin/env bash
# From nothing to a translation model trained with R-Drop, scored and drawn: see --help.
set -euo pipefail

lang=de
minutes=12
corpus_pairs=          # all
vocab_size=4000

# Chosen by trial for 12 minutes on 2 CPU cores, see README.md beside this file.
model=(--arch transformer --share-all-embeddings --dropout 0.1
    --encoder-normalize-before --decoder-normalize-before
    --encoder-layers 3 --encoder-embed-dim 192 --encoder-ffn-embed-dim 768 --encoder-attention-heads 4
    --decoder-layers 2 --decoder-embed-dim 192 --decoder-ffn-embed-dim 768 --decoder-attention-heads 4)
reg_alpha=1            # the paper's 5 wants many more updates than this budget has
max_tokens=1024
learning_rate=2e-3
warmup_updates=200
constant_share=0.5     # of the time at the full learning rate; in the rest it falls to zero

# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

. "$(dirname "${BASH_SOURCE[0]}")/lib/checkpoints.sh"

usage() {
    cat <<EOF
Usage: bash examples/translation/quickstart.sh [OPTIONS]

Installs, makes a corpus of the interface strings of Home Assistant, trains a small Transformer
with R-Drop to translate them from English, scores it and draws its training curves.
Finished stages are skipped on a second run, and an interrupted run continues.

  --lang LANG    target language: de, fr, es, nl, ... ($lang)
  --minutes N    training time of each model ($minutes); uses a GPU where there is one
  --compare      also train with plain label smoothing for as long, and compare the two
  --smoke        the same stages on a slice of the corpus, in less than two minutes
  --out DIR      where everything goes (quickstart-runs in the checkout)
  --help         this text
EOF
}

main() {
    repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    read_options "$@"
    mkdir -p "$work"
    trap 'exit 130' INT TERM
    trap 'explain_exit $?' EXIT

    stage 1 "Installing"
    shown bash "$repo/scripts/install.sh"
    PATH=$repo/.venv/bin:$PATH
    device=$(cpu_or_gpu 2>>"$log")

    stage 2 "Getting the interface strings of Home Assistant"
    shown corpus_program

    stage 3 "Making the en-$lang corpus"
    make_corpus

    stage 4 "Training with R-Drop, alpha $reg_alpha, for $minutes minutes"
    train rdrop --criterion rdrop_label_smoothed_cross_entropy --reg-alpha "$reg_alpha"
    if [ -n "$compare" ]; then
        say "      Training with plain label smoothing for $minutes minutes"
        train plain --criterion label_smoothed_cross_entropy
    fi

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
    local out=$repo/quickstart-runs smoke='' minutes_given=''
    compare=''
    while [ $# -gt 0 ]; do
        case $1 in
            --lang | --minutes | --out) [ $# -ge 2 ] || refuse "$1 needs a value" ;;
        esac
        case $1 in
            --lang) lang=$2; shift ;;
            --minutes) minutes_given=$2; shift ;;
            --out) out=$2; shift ;;
            --compare) compare=yes ;;
            --smoke) smoke=-smoke ;;
            --help | -h) usage; exit ;;
            *) refuse "unknown option $1" ;;
        esac
        shift
    done
    if [ -n "$smoke" ]; then
        minutes=0.5 corpus_pairs=3000 warmup_updates=20
    fi
    minutes=${minutes_given:-$minutes}
    awk -v m="$minutes" 'BEGIN { exit !(m ~ /^[0-9]*\.?[0-9]+$/ && m > 0) }' ||
        refuse "--minutes $minutes is not a positive number"
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    wheel=$out/homeassistant-2026.2.3.whl
    work=$out/en-$lang$smoke
    log=$work/quickstart.log
}

refuse() {
    echo "quickstart.sh: $1; see --help." >&2
    exit 2
}

explain_exit() {
    case $1 in
        0) ;;
        130) say "Interrupted. The same command continues from here." ;;
        *)
            echo "Failed; the log $log ends with:" >&2
            tail -n 10 "$log" >&2
            echo "After mending it, the same command continues from here." >&2
            ;;
    esac
}

stage() { printf '[%d/6] %s (after %d:%02d)\n' "$@" $((SECONDS / 60)) $((SECONDS % 60)) | tee -a "$log"; }
say() { echo "$@" | tee -a "$log"; }
shown() { "$@" 2>&1 | tee -a "$log"; }
logged() { "$@" >>"$log" 2>&1; }
there() { [ -e "$1" ] && say "      already there: $1"; }

cpu_or_gpu() {
    python -c 'import torch; print("--fp16" if torch.cuda.is_available() else "--cpu")'
}

corpus_program() {
    python "$repo/scripts/home_assistant_corpus.py" --lang "$lang" --wheel "$wheel" "$@"
}

make_corpus() {
    there "$work/corpus" ||
        shown corpus_program --out "$work/corpus" ${corpus_pairs:+--limit "$corpus_pairs"}
    there "$work/subwords" ||
        shown python "$repo/scripts/subwords.py" --corpus "$work/corpus" \
            --langs en "$lang" --size "$vocab_size" --out "$work/subwords"
    there "$work/binarized" || binarize
}

binarize() {
    local subwords=$work/subwords
    rm -rf "$work/binarized.tmp"
    logged fairseq-preprocess --source-lang en --target-lang "$lang" --joined-dictionary \
        --trainpref "$subwords/train" --validpref "$subwords/valid" --testpref "$subwords/test" \
        --destdir "$work/binarized.tmp"
    mv "$work/binarized.tmp" "$work/binarized"
}

folder_of() { echo "$work/$1-${minutes}min"; }

# train NAME CRITERION...: makes model.pt. The learning rate stays constant for a share of the
# time, which also measures the machine, and then falls to zero in the updates that still fit.
train() {
    local folder updates total
    folder=$(folder_of "$1")
    shift
    if there "$folder/model.pt"; then
        rm -f "$folder"/checkpoint*.pt # had it been killed before they were removed
        return
    fi
    mkdir -p "$folder"
    if [ ! -e "$folder/constant_updates" ]; then
        say "      at a constant learning rate until minute $(calculate "$minutes * $constant_share")"
        fairseq_train "$folder" "$constant_share" "$@" \
            --lr-scheduler fixed --warmup-updates "$warmup_updates"
        last_update "$folder" >"$folder/constant_updates.tmp"
        mv "$folder/constant_updates.tmp" "$folder/constant_updates"
    fi
    updates=$(cat "$folder/constant_updates")
    total=$(calculate "int($updates / $constant_share)")
    say "      at a falling learning rate until update $total"
    fairseq_train "$folder" 1 "$@" --reset-lr-scheduler --lr-scheduler polynomial_decay \
        --warmup-updates "$updates" --total-num-update "$total" --max-update "$total"
    mv "$folder/checkpoint_best.pt" "$folder/model.pt"
    rm "$folder"/checkpoint*.pt
}

# fairseq_train FOLDER SHARE ARGUMENTS...: until SHARE of the budget is used up, resumes included.
fairseq_train() {
    local folder=$1 hours
    hours=$(calculate "$minutes * $2 / 60")
    shift 2
    keep_whole_checkpoint "$folder"
    fairseq-train "$work/binarized" --user-dir "$repo/rdrop_fairseq" --task translation \
        "${model[@]}" --label-smoothing 0.1 "$@" --max-tokens "$max_tokens" --seed 1 \
        --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1 --lr "$learning_rate" \
        --stop-time-hours "$hours" --distributed-world-size 1 "$device" \
        --save-dir "$folder" --no-epoch-checkpoints --save-interval-updates 200 \
        --keep-interval-updates 1 --log-format json --log-interval 10 \
        --log-file "$folder/train.log" 2>&1 | tee -a "$log" |
        python "$repo/scripts/show_training.py"
}

last_update() { grep -o 'num_updates": "[0-9]*' "$1/train.log" | tail -n 1 | tr -dc 0-9; }
calculate() { awk "BEGIN { print $1 }"; }

translate() {
    local folder
    folder=$(folder_of "$1")
    there "$folder/generate.log" && return
    fairseq-generate "$work/binarized" --user-dir "$repo/rdrop_fairseq" \
        --source-lang en --target-lang "$lang" --path "$folder/model.pt" \
        --beam 5 --lenpen 1.5 --max-len-a 2 --max-len-b 10 --remove-bpe sentencepiece --max-tokens 4000 \
        >"$folder/generate.tmp" 2>>"$log"
    mv "$folder/generate.tmp" "$folder/generate.log"
}

print_scores() {
    local folder reference=$work/corpus/test.$lang
    folder=$(folder_of rdrop)
    shown python "$repo/scripts/score_bleu.py" --sys "$folder/generate.log" --ref "$reference" \
        --tokenize "$(tokenizer)"
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
    say
}

draw_curves() {
    local runs=("R-Drop=$(folder_of rdrop)/train.log")
    [ -z "$compare" ] || runs+=("plain label smoothing=$(folder_of plain)/train.log")
    shown python "$repo/scripts/plot_training.py" "${runs[@]}" --out "$work/training.png"
}

print_pointers() {
    local folder
    folder=$(folder_of rdrop)
    say "
Model    $folder/model.pt
Curves   $work/training.png
Log      $log

To translate your own text:

  echo 'Turn on the light in the kitchen.' | $repo/.venv/bin/fairseq-interactive \\
    $work/binarized --source-lang en --target-lang $lang --path $folder/model.pt \\
    --user-dir $repo/rdrop_fairseq --beam 5 --lenpen 1.5 --bpe sentencepiece \\
    --sentencepiece-model $work/subwords/spm.model | grep ^D- | cut -f 3"
}

main "$@"
