# shellcheck shell=bash
# What the quickstart shows of its trainings: translations, scores, examples, curves, where everything is.

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
