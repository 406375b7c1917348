# shellcheck shell=bash disable=SC2034
# WMT14 English-German. Where a setting comes from:
#   [R-Drop]   what the authors of the paper, Liang et al. 2021, give (github.com/dropreg/R-Drop,
#              issue 19)
#   [fairseq]  prepare-wmt14en2de.sh in examples/translation of fairseq, but with WMT14's own
#              news-commentary v9 and not WMT17's v12
#   [SimCut]   Gao et al. 2022, Bi-SimCut (NAACL 2022; github.com/gpengzhi/Bi-SimCut)
#   [Late]     Gao et al., An Empirical Study of Consistency Regularization for End-to-End
#              Speech-to-Text Translation, table 1: in the last stage of a training alone R-Drop has
#              84 to 86% of what it gains in all stages

# The corpus
corpus_settings=(
    --normalize                   # [fairseq] punctuation, and what does not print
    --aggressive-dash-splits      # [fairseq] tokens are split at hyphens
)
held_out=(--valid-every 100)      # [fairseq] every 100th training pair is for validation
other_valid=newstest2013          # what prepare.sh --newstest2013 validates on instead
subword_settings=(
    --min-length 1                # [fairseq] subwords of a training sentence
    --max-length 250              # [fairseq]
    --ratio 1.5                   # [fairseq] between the longer and the shorter sentence of a pair
)
subword=sentencepiece             # ours; the paper has subword-nmt
bpe_size=40000                    # [fairseq]; 32000 is as common

# The model and its training
model=(
    --arch transformer_vaswani_wmt_en_de_big  # [R-Drop]
    --share-all-embeddings        # [R-Drop]
    --dropout 0.1                 # [R-Drop]
    --attention-dropout 0.1       # [R-Drop]
    --activation-dropout 0.1      # [R-Drop]
)
max_tokens=4096                   # [R-Drop] of a batch
update_freq=16                    # [R-Drop] batches of an update, however many processes share them;
                                  # [R-Drop] does not say on how many GPUs
optimization=(
    --optimizer adam              # [R-Drop]
    --adam-betas '(0.9, 0.98)'    # [R-Drop]
    --clip-norm 0                 # fairseq's default
    --weight-decay 0              # [R-Drop]
    --lr 1e-3                     # [R-Drop]
    --lr-scheduler inverse_sqrt   # [R-Drop]
    --warmup-updates 6000         # [R-Drop]
    --warmup-init-lr 1e-7         # [R-Drop]
)
label_smoothing=0.1               # [R-Drop]
rdrop_alpha=5                     # [R-Drop] weight of the KL
simcut_alpha=3                    # [SimCut]
late_start=75                     # [Late] % of max_updates without the KL in --schedule late; the share is ours
max_updates=300000                # [R-Drop]
validation=(                      # by loss: translating 45,000 pairs takes long; average the checkpoints instead
    --save-interval-updates 2000  # ours: an epoch takes long; to continue from and to average
    --keep-interval-updates 10    # ours
    --no-epoch-checkpoints        # ours
)

# Translation and score
beam=4                            # [R-Drop]
lenpen=0.6                        # [R-Drop]
averaged=(--by-updates)           # evaluate.sh --average takes what --save-interval-updates saved
score_options=(--compound-split)  # [R-Drop] tokenized BLEU after splitting compounds at hyphens
case_options=()                   # for every score: with upper and lower case
