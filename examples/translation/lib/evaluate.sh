# Translates and scores the test set of a benchmark: sourced by its evaluate.sh, which sets
#   beam, lenpen   of the search
#   averaged       of scripts/average_checkpoints.py: which checkpoints the training keeps
#   score_options  of scripts/score_bleu.py, for the score that the paper gives
#   case_options   of the same, for every score

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<EOF
Usage: bash examples/translation/$benchmark/evaluate.sh [OPTIONS] RUN

Translates the test set with a model of train.sh and scores it. RUN is the name of the run, a folder
in $out.

  --average N    take the mean of the last N checkpoints, not checkpoint_best.pt
  --subset NAME  test or valid (test)
  --beam N       ($beam)
  --lenpen X     length penalty ($lenpen)
  --cpu          translate on the CPU, even where there is a GPU
  --out DIR      of prepare.sh ($out)
  --help         this text
EOF
}

evaluate() {
    read_evaluation_options "$@"
    need_program fairseq-generate
    [ -d "$out/$run" ] || die "there is no run $out/$run: train it with train.sh, or give --out"
    read_direction
    log=$out/$run/generate-$subset-$checkpoint-beam$beam-lenpen$lenpen.log
    choose_checkpoint
    local reference=$out/subwords/tokenized/$subset.$target
    # What is older than the model was made with an earlier one, before the training continued.
    if [ "$log" -nt "$model" ]; then say "already there: $log"; else translate; fi
    say "$source-$target $subset, $run, $checkpoint checkpoint, beam $beam, length penalty $lenpen"
    score "${score_options[@]}"
    score --detokenize "$target"
}

# The languages as train.sh had them: what it noted begins with SOURCE-TARGET.
read_direction() {
    local noted=$out/$run/settings
    [ -e "$noted" ] || die "there is no $noted, which train.sh writes: was this run made with it?"
    IFS='- ' read -r source target _ <"$noted"
}

score() {
    python "$repo/scripts/score_bleu.py" --sys "$log" --ref "$reference" "${case_options[@]}" "$@"
}

read_evaluation_options() {
    cpu='' run='' subset=test average='' checkpoint=best
    while [ $# -gt 0 ]; do
        case $1 in
            --average | --subset | --beam | --lenpen | --out) needs_value $# "$1" ;;
        esac
        case $1 in
            --average) whole_number "$1" "$2"; average=$2 checkpoint=average$2; shift ;;
            --subset) subset=$2; shift ;;
            --beam) whole_number "$1" "$2"; beam=$2; shift ;;
            --lenpen) lenpen=$2; shift ;;
            --cpu) cpu=--cpu ;;
            --out) out=$2; shift ;;
            --help | -h) usage; exit ;;
            -*) refuse "unknown option $1" ;;
            *) [ -z "$run" ] || refuse "one RUN at a time"; run=$1 ;;
        esac
        shift
    done
    [ -n "$run" ] || refuse "name the RUN to evaluate"
    [[ $lenpen =~ ^-?[0-9]*\.?[0-9]+$ ]] || refuse "--lenpen must be a number, not '$lenpen'"
    case $subset in test | valid) ;; *) refuse "--subset is test or valid, not '$subset'" ;; esac
}

choose_checkpoint() {
    model=$out/$run/checkpoint_$checkpoint.pt
    if [ -n "$average" ] && [ ! "$model" -nt "$out/$run/checkpoint_last.pt" ]; then
        python "$repo/scripts/average_checkpoints.py" --dir "$out/$run" \
            --last "$average" "${averaged[@]}" --out "$model"
    fi
    [ -e "$model" ] || die "there is no $model: has the training come to its first validation?"
    is_whole "$model" ||
        die "$model is cut short or damaged: continue its training with train.sh, or give --average"
}

translate() {
    [ -n "$cpu" ] || python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || cpu=--cpu
    say "translating"
    fairseq-generate "$out/binarized" --user-dir "$repo/rdrop_fairseq" --task translation \
        --source-lang "$source" --target-lang "$target" --gen-subset "$subset" --path "$model" \
        --beam "$beam" --lenpen "$lenpen" --remove-bpe "$(joining_of_subwords)" \
        --max-tokens 4096 $cpu >"$log.tmp" || die "fairseq-generate failed; the lines above say why"
    mv "$log.tmp" "$log"
}
