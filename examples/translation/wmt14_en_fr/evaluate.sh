#!/usr/bin/env bash
# Translates and scores newstest2014 English-French: see --help.
set -euo pipefail

# The paper's: tokenized BLEU
beam=4
lenpen=0.6
averaged=(--by-updates) # train.sh keeps none of the epochs
score_options=(--tokenized)
case_options=()

. "$(dirname "$0")/../lib/evaluate.sh"
evaluate "$@"
