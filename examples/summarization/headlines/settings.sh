# shellcheck shell=bash disable=SC2034
# Titles for descriptions in Home Assistant's interface, by a small Transformer, for a minute or two on
# one CPU core. The settings were chosen for that time, and not tuned.

# The text
published=()                      # pip fetches it
source_language=description
target_language=title
bpe_size=2000                     # pieces of sentencepiece, of descriptions and titles together

# The model and its training
task_flags=(
    --task translation
    --source-lang description
    --target-lang title
    --truncate-source             # as for CNN/DailyMail
    --num-workers 0
)
model=(
    --arch transformer
    --share-all-embeddings
    --encoder-layers 2
    --encoder-embed-dim 96
    --encoder-ffn-embed-dim 384
    --encoder-attention-heads 4
    --encoder-normalize-before
    --decoder-layers 2
    --decoder-embed-dim 96
    --decoder-ffn-embed-dim 384
    --decoder-attention-heads 4
    --decoder-normalize-before
    --dropout 0.2
)
max_tokens=2048
update_freq=1
optimization=(
    --optimizer adam
    --adam-betas '(0.9, 0.98)'
    --clip-norm 1
    --lr 3e-3
    --lr-scheduler inverse_sqrt
    --warmup-updates 100
)
plain_criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.1)
rdrop_criterion=(--criterion rdrop_label_smoothed_cross_entropy --label-smoothing 0.1)
rdrop_alpha=0.7                   # weight of the KL; as for CNN/DailyMail
max_updates=400
validation=(--no-epoch-checkpoints)

# Titles and their score
search=(--beam 4 --max-len-b 20 --remove-bpe sentencepiece)
rouge_options=()
