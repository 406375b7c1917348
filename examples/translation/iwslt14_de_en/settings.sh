# shellcheck shell=bash disable=SC2034
# IWSLT14 German-English. Where a setting comes from:
#   [R-Drop]   run_train.sh and run_inference.sh of the authors of the paper, Liang et al. 2021
#              (github.com/dropreg/R-Drop, fairseq_src/examples/translation_rdrop/script)
#   [fairseq]  examples/translation of fairseq: README.md and prepare-iwslt14.sh
#   [SimCut]   Gao et al. 2022, Bi-SimCut (NAACL 2022; github.com/gpengzhi/Bi-SimCut)
#   [Late]     Gao et al., An Empirical Study of Consistency Regularization for End-to-End
#              Speech-to-Text Translation, table 1: in the last stage of a training alone R-Drop has
#              84 to 86% of what it gains in all stages

# The corpus
corpus_settings=(
    --lowercase                   # [fairseq]
    --min-length 1                # [fairseq] tokens of a training sentence
    --max-length 175              # [fairseq]
    --ratio 1.5                   # [fairseq] between the longer and the shorter sentence of a pair
)
held_out=(--valid-every 23)       # [fairseq] every 23rd training pair is for validation
subword_settings=()               # sentences are cleaned as tokens, above, not as subwords
subword=sentencepiece             # ours; the paper has subword-nmt
bpe_size=10000                    # [fairseq]

# The model and its training
model=(
    --arch transformer_iwslt_de_en  # [R-Drop]
    --share-all-embeddings        # [R-Drop]
    --dropout 0.3                 # [R-Drop]
)
max_tokens=4096                   # [R-Drop] of a batch
update_freq=1                     # [R-Drop] batches of an update, however many processes share them
optimization=(
    --optimizer adam              # [R-Drop]
    --adam-betas '(0.9, 0.98)'    # [R-Drop]
    --clip-norm 0                 # [fairseq]
    --weight-decay 1e-4           # [R-Drop]
    --lr 5e-4                     # [R-Drop]
    --lr-scheduler inverse_sqrt   # [R-Drop]
    --warmup-updates 4000         # [R-Drop]
)
label_smoothing=0.1               # [R-Drop]
rdrop_alpha=5                     # [R-Drop] weight of the KL
simcut_alpha=3                    # [SimCut]
late_start=75                     # [Late] % of max_updates without the KL in --schedule late; the share is ours
max_updates=300000                # [R-Drop]
validation=(
    --eval-bleu                   # [R-Drop] the checkpoint that counts is the best by BLEU
    --eval-bleu-args '{"beam": 5, "max_len_a": 1.2, "max_len_b": 10}'  # [R-Drop]
    --eval-bleu-detok moses       # [R-Drop]
    --best-checkpoint-metric bleu --maximize-best-checkpoint-metric  # [R-Drop]
    --keep-last-epochs 10         # ours, to average
)

# Translation and score
beam=5                            # [R-Drop]
lenpen=1                          # fairseq's default
averaged=()                       # evaluate.sh --average takes the last epochs
score_options=(--tokenized)       # fairseq's score
also_compound_split=yes           # [R-Drop] the paper's score
case_options=(--lowercase)        # for every score: all text was made so above
