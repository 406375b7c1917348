# shellcheck shell=bash disable=SC2034
# The kind of an interface string of Home Assistant, by a small RoBERTa that is trained from scratch.
# Settings were chosen on the validation set with 300 labels: README.md says how.

# The corpus
corpus=interface_strings
bpe_size=2000                     # pieces of sentencepiece
regression=''

# The model and its training
task_flags=(
    --task sentence_prediction
    --num-classes 6               # title, description, error, label, option, name
    --init-token 0
    --separator-token 2
    --shorten-method truncate     # to max-positions
    --num-workers 0
)
model=(
    --arch roberta_base           # made small
    --encoder-layers 1
    --encoder-embed-dim 64
    --encoder-ffn-embed-dim 128
    --encoder-attention-heads 2
    --max-positions 64
    --dropout 0.6
    --attention-dropout 0.1
    --pooler-dropout 0.6
)
max_tokens=4096                   # of a batch at most
update_freq=1
optimization=(
    --batch-size 32
    --required-batch-size-multiple 1
    --optimizer adam
    --adam-betas '(0.9, 0.98)'
    --weight-decay 0.1
    --clip-norm 1
    --lr 2e-3
    --lr-scheduler polynomial_decay
    --warmup-updates 50
)
declare -gA updates_of=([train-300]=150 [train-1000]=200 [train]=800 [semi-300]=300 [semi-1000]=300)
plain_criterion=(--criterion sentence_prediction)
rdrop_criterion=(--criterion rdrop_sentence_prediction)
rdrop_alpha=1                     # weight of the KL
validation=(
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric
    --batch-size-valid 256
    --validate-interval 1000000 --validate-interval-updates 50  # sets differ in updates an epoch
    --save-interval 1000000 --save-interval-updates 50
    --keep-interval-updates 1 --no-epoch-checkpoints
)
