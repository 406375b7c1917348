# shellcheck shell=bash disable=SC2034
# What all trainings of rows.txt have in common. How many updates they have stands there. As in
# ../translation/multi30k_en_de/settings.sh, and for the same reasons, but for what is marked "here".

# The corpora
bpe_size=4000                     # here: as the quickstart, for texts of 2,000 to 29,000 pairs

# The model and its training
model=(
    --arch transformer
    --share-all-embeddings
    --dropout 0.3
    --encoder-layers 2            # here: half of the layers, for the time
    --encoder-embed-dim 128
    --encoder-ffn-embed-dim 256
    --encoder-attention-heads 4
    --decoder-layers 2            # here
    --decoder-embed-dim 128
    --decoder-ffn-embed-dim 256
    --decoder-attention-heads 4
    --encoder-normalize-before
    --decoder-normalize-before
)
optimization=(
    --optimizer adam
    --adam-betas '(0.9, 0.98)'
    --clip-norm 1
    --lr 4e-3                     # here: see README.md
    --lr-scheduler polynomial_decay  # here: to zero at the last update, so that every row has ended
    --warmup-updates 300          # here: a tenth of 3,000 updates
    --label-smoothing 0.1
    --max-tokens 512              # here: see README.md
    --num-workers 0               # here: a training is one process
)
validations=10                    # here: of a training, at equal distances; the best by BLEU counts
validation=(
    --eval-bleu
    --eval-bleu-args '{"beam": 1, "max_len_a": 1.2, "max_len_b": 10}'
    --eval-bleu-remove-bpe sentencepiece
    --best-checkpoint-metric bleu --maximize-best-checkpoint-metric
)

# Translation of the test set, once, with the best checkpoint
beam=5
