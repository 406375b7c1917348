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
. "$task_dir/quickstart/report.sh"
. "$task_dir/quickstart/settings.sh"
. "$task_dir/quickstart/training.sh"

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

main "$@"
