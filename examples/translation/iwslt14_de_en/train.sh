#!/usr/bin/env bash
# Trains on IWSLT14 German-English with R-Drop, or without it: see --help.
set -euo pipefail

# The paper's settings (Liang et al. 2021, appendix), those of fairseq's example for IWSLT14
model=(--arch transformer_iwslt_de_en --share-all-embeddings --dropout 0.3)
max_tokens=4096
update_freq=1
optimization=(--optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 0 --weight-decay 1e-4
    --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 4000)
reg_alpha=5
max_updates=300000
# The checkpoint that counts is the best by BLEU on the validation set
validation=(--eval-bleu --eval-bleu-args '{"beam": 5, "max_len_a": 1.2, "max_len_b": 10}'
    --eval-bleu-detok moses --best-checkpoint-metric bleu --maximize-best-checkpoint-metric
    --keep-last-epochs 10)

. "$(dirname "$0")/../lib/train.sh"
train "$@"
