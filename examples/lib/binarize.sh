# shellcheck shell=bash
# Makes what fairseq reads: dictionaries and binarized text.

# binarize SUBWORDS SOURCE TARGET OUT LOG [ARGUMENTS OF fairseq-preprocess]
binarize() {
    rm -rf "$4.tmp" &&
        supervise fairseq-preprocess --source-lang "$2" --target-lang "$3" --joined-dictionary \
            --trainpref "$1/train" --validpref "$1/valid" --testpref "$1/test" \
            --destdir "$4.tmp" "${@:6}" >>"$5" 2>&1 &&
        mv "$4.tmp" "$4"
}
