#!/usr/bin/env bash
# Prepares Multi30k (task 1, English and German) for fairseq: see --help.
set -euo pipefail

corpus_settings=(--lowercase)
held_out=() # its validation set is a file of its own
subword_settings=()
subword=sentencepiece
bpe_size=10000

. "$(dirname "$0")/../lib/prepare.sh"
prepare "$@"
