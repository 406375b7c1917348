#!/usr/bin/env bash
# Trains on WMT14 English-German with R-Drop, or without it: see --help.
set -euo pipefail

# What the authors give for WMT14 English-German (github.com/dropreg/R-Drop, issue 19). They do not
# say on how many GPUs; 16 batches are the whole update here, whoever makes them.
model=(--arch transformer_vaswani_wmt_en_de_big --share-all-embeddings
    --dropout 0.1 --attention-dropout 0.1 --activation-dropout 0.1)
max_tokens=4096
update_freq=16
optimization=(--optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 0 --weight-decay 0
    --lr 1e-3 --lr-scheduler inverse_sqrt --warmup-updates 6000 --warmup-init-lr 1e-7)
reg_alpha=5
max_updates=300000
# An epoch takes long: checkpoints in between, to continue from and to average
validation=(--save-interval-updates 2000 --keep-interval-updates 10 --no-epoch-checkpoints)

. "$(dirname "$0")/../lib/train.sh"
train "$@"
