#!/usr/bin/env bash
# Translates and scores newstest2014 English-German: see --help.
set -euo pipefail

# The paper's: tokenized BLEU after splitting compounds at hyphens (R-Drop's repository, issue 19)
beam=4
lenpen=0.6
averaged=(--by-updates) # train.sh keeps none of the epochs
score_options=(--compound-split)
case_options=()

. "$(dirname "$0")/../lib/evaluate.sh"
evaluate "$@"
