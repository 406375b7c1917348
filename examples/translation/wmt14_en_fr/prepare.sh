#!/usr/bin/env bash
# Prepares WMT14 English-French for fairseq: see --help.
set -euo pipefail

# As fairseq's prepare-wmt14en2fr.sh: every 1333rd pair for validation, cleaned as subwords
corpus_settings=(--normalize --aggressive-dash-splits)
held_out=(--valid-every 1333)
subword_settings=(--min-length 1 --max-length 250 --ratio 1.5)
subword=sentencepiece
bpe_size=40000  # the paper's; 32000 is as common

. "$(dirname "$0")/../lib/prepare.sh"
prepare "$@"
