#!/usr/bin/env bash
# Prepares IWSLT14 German-English for fairseq: see --help.
set -euo pipefail

# As fairseq's prepare-iwslt14.sh: cleaned as tokens, every 23rd pair for validation
corpus_settings=(--lowercase --min-length 1 --max-length 175 --ratio 1.5)
held_out=(--valid-every 23)
subword_settings=()
subword=sentencepiece
bpe_size=10000

. "$(dirname "$0")/../lib/prepare.sh"
prepare "$@"
