#!/usr/bin/env bash
# Translates and scores Multi30k's test2016: see --help.
set -euo pipefail

beam=5
lenpen=1
averaged=() # of the last epochs
score_options=(--tokenized)
case_options=(--lowercase) # as prepare.sh makes all text

. "$(dirname "$0")/../lib/evaluate.sh"
evaluate "$@"
