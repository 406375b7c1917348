# shellcheck shell=bash disable=SC2034
# The kind of an interface string of Home Assistant. Settings were chosen on the validation set.

# The corpus
corpus=interface_strings
bpe_size=2000                     # pieces of sentencepiece
regression=''
num_classes=6                     # title, description, error, label, option, name

# The model and its training
model=(
    --arch roberta_base           # made small, and trained from scratch
    --encoder-layers 2
    --encoder-embed-dim 64
    --encoder-ffn-embed-dim 128
    --encoder-attention-heads 2
    --max-positions 512
    --dropout 0.3
    --attention-dropout 0.1
    --pooler-dropout 0.3
)
batch_size=32                     # sentences of a batch
max_tokens=4096                   # at most
update_freq=1
optimization=(
    --optimizer adam
    --adam-betas '(0.9, 0.98)'
    --weight-decay 0.01
    --clip-norm 1
    --lr 2e-3
    --lr-scheduler polynomial_decay
    --warmup-updates 50
)
declare -gA updates_of=([train-300]=100 [train-1000]=150 [train]=1500 [semi-300]=200 [semi-1000]=300)
alpha=1                           # weight of the KL
report=()
validation=(
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric
    --batch-size-valid 256
    --validate-interval 1000000 --validate-interval-updates 50  # sets differ in updates an epoch
    --save-interval 1000000 --save-interval-updates 50
    --keep-interval-updates 1 --no-epoch-checkpoints
)
evaluated=valid,test
