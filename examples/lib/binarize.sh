# shellcheck shell=bash
# Makes what fairseq reads: dictionaries and binarized text.

# die_of_preprocessing LOG
die_of_preprocessing() { die "fairseq-preprocess failed; $1 says why"; }

# binarize SUBWORDS SOURCE TARGET OUT LOG [ARGUMENTS OF fairseq-preprocess]
binarize() {
    rm -rf "$4.tmp" &&
        supervise fairseq-preprocess --source-lang "$2" --target-lang "$3" --joined-dictionary \
            --trainpref "$1/train" --validpref "$1/valid" --testpref "$1/test" \
            --destdir "$4.tmp" "${@:6}" >>"$5" 2>&1 &&
        mv "$4.tmp" "$4"
}

# binarize_sentences SETS OUT LOG REGRESSION [ARGUMENTS OF fairseq-preprocess FOR SENTENCES]: the labelled
# sentences of the task sentence_prediction; REGRESSION is empty, or their labels are numbers.
binarize_sentences() {
    local column arguments
    rm -rf "$2.tmp"
    for column in input0 input1 label; do
        [ -e "$1/train.$column" ] || continue
        if [ "$column" = label ] && [ -n "$4" ]; then
            mkdir "$2.tmp/label" && cp "$1"/*.label "$2.tmp/label" || return
            continue
        fi
        arguments=()
        [ "$column" = label ] || arguments=("${@:5}")
        # one dictionary for both sentences of a pair
        [ "$column" != input1 ] || arguments+=(--srcdict "$2.tmp/input0/dict.txt")
        binarize_column "$1" "$column" "$2.tmp/$column" "$3" "${arguments[@]}" || return
    done
    mv "$2.tmp" "$2"
}

# binarize_column SETS COLUMN OUT LOG [ARGUMENTS]: fairseq calls all sets but train test, test1, ...
binarize_column() {
    local path set part number='' others=()
    for path in "$1"/*."$2"; do
        [ "$path" = "$1/train.$2" ] || others+=("$path")
    done
    supervise fairseq-preprocess --only-source --trainpref "$1/train.$2" \
        --testpref "$(IFS=,; echo "${others[*]}")" --destdir "$3" "${@:5}" >>"$4" 2>&1 || return
    for path in "${others[@]}"; do
        set=$(basename "$path" ".$2")
        for part in bin idx; do
            [ "test$number" = "$set" ] || mv "$3/test$number.$part" "$3/$set.$part" || return
        done
        number=$((number + 1))
    done
}
