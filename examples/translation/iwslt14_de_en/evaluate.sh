#!/usr/bin/env bash
# Translates and scores IWSLT14 German-English's test set: see --help.
set -euo pipefail

# The paper's: tokenized, lowercased BLEU
beam=5
lenpen=1
averaged=() # of the last epochs
score_options=(--tokenized)
case_options=(--lowercase) # as prepare.sh makes all text

. "$(dirname "$0")/../lib/evaluate.sh"
evaluate "$@"
