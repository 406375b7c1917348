# shellcheck shell=bash disable=SC2034
# Multi30k, task 1, English-German. Where a setting comes from:
#   [Wu]  Wu et al. 2021, Good for Misconceived Reasons (ACL 2021): the small model there, about 2.6M
#         parameters (github.com/LividWo/Revisit-MMT, README-baseline.md)
#   [Late]  Gao et al., An Empirical Study of Consistency Regularization for End-to-End
#           Speech-to-Text Translation, table 1: in the last stage of a training alone R-Drop has
#           84 to 86% of what it gains in all stages

# The corpus
corpus_settings=(--lowercase)     # as the text of [Wu]
held_out=()                       # the validation set is a file of its own
subword_settings=()               # no pair is left out
subword=sentencepiece             # ours; the R-Drop paper has subword-nmt
bpe_size=10000                    # as for IWSLT14

# The model and its training
model=(
    --arch transformer
    --share-all-embeddings        # [Wu]
    --dropout 0.3                 # [Wu]
    --encoder-layers 4            # [Wu], and the seven below
    --encoder-embed-dim 128
    --encoder-ffn-embed-dim 256
    --encoder-attention-heads 4
    --decoder-layers 4
    --decoder-embed-dim 128
    --decoder-ffn-embed-dim 256
    --decoder-attention-heads 4
    --encoder-normalize-before    # ours: trains faster; [Wu] normalises after each block
    --decoder-normalize-before    # likewise
)
max_tokens=1024                   # ours: on a CPU, larger batches only make for fewer updates
update_freq=1                     # batches of an update, however many processes share them
optimization=(
    --optimizer adam              # Vaswani et al. 2017
    --adam-betas '(0.9, 0.98)'    # Vaswani et al. 2017
    --clip-norm 1                 # ours
    --lr 2e-3                     # ours: suits the small batches
    --lr-scheduler inverse_sqrt   # Vaswani et al. 2017
    --warmup-updates 1000         # ours
)
label_smoothing=0.1               # Vaswani et al. 2017
rdrop_alpha=1                     # weight of the KL, for so small a model; the paper's 5 was not tried
simcut_alpha=0.5                  # as rdrop_alpha beside one cross-entropy; Gao et al.'s 3 was not tried
late_start=15                     # [Late] % of max_updates; --patience ends a training after a third of them
max_updates=100000                # far more than --patience allows
validation=(
    --patience 10                 # [Wu]
    --eval-bleu                   # the checkpoint that counts is the best by BLEU, as for IWSLT14
    --eval-bleu-detok moses       # as for IWSLT14
    --eval-bleu-args '{"beam": 1, "max_len_a": 1.2, "max_len_b": 10}'  # ours: greedy, for a CPU
    --best-checkpoint-metric bleu --maximize-best-checkpoint-metric  # as for IWSLT14
    --keep-last-epochs 10         # to average
)

# Translation and score
beam=5                            # [Wu]
lenpen=1                          # fairseq's default
averaged=()                       # evaluate.sh --average takes the last epochs
score_options=(--tokenized)       # [Wu]
case_options=(--lowercase)        # for every score: all text was made so above
