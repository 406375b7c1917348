#!/usr/bin/env bash
# Prepares WMT14 English-German for fairseq: see --help.
set -euo pipefail

# As fairseq's prepare-wmt14en2de.sh, with WMT14's own news-commentary v9 and not WMT17's v12: every
# 100th pair for validation, cleaned as subwords
corpus_settings=(--normalize --aggressive-dash-splits)
held_out=(--valid-every 100)
subword_settings=(--min-length 1 --max-length 250 --ratio 1.5)
subword=sentencepiece
bpe_size=40000  # the paper's; 32000 is as common

. "$(dirname "$0")/../lib/prepare.sh"

additional_usage() {
    echo "  --newstest2013  validate on newstest2013, not on every 100th training pair"
}

additional_option() {
    [ "$1" = --newstest2013 ] || refuse "unknown option $1"
    held_out=(--valid newstest2013)
}

prepare "$@"
