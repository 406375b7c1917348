# shellcheck shell=bash disable=SC2034
# Wikitext-103, a Transformer with one softmax. All settings are those of the authors of R-Drop
# (github.com/dropreg/R-Drop, language_model_rdrop/script/train_lm_wiki103_rdrop.sh) where no other
# source is given.

# The text
published=(wiki.train.tokens wiki.valid.tokens wiki.test.tokens)
source_of_files=wikitext-103-v1.zip

# The model and its training
task_flags=(
    --task language_modeling
    --tokens-per-sample 512
    --sample-break-mode none
    --skip-invalid-size-inputs-valid-test
    --ddp-backend legacy_ddp      # theirs is its older name, no_c10d
)
model=(
    --arch transformer_lm_gpt
    --share-decoder-input-output-embed
    --dropout 0.1
)
max_tokens=2000
update_freq=128                   # 16 on each of their 8 GPUs
optimization=(
    --optimizer adam
    --adam-betas '(0.9, 0.98)'
    --weight-decay 0.01
    --clip-norm 0
    --lr 5e-4
    --lr-scheduler inverse_sqrt
    --warmup-updates 4000
    --warmup-init-lr 1e-7
)
plain_criterion=(--criterion label_smoothed_cross_entropy)       # smoothing 0: cross-entropy
rdrop_criterion=(--criterion rdrop_label_smoothed_cross_entropy)
rdrop_alpha=1                     # weight of the KL
max_updates=50000
validation=(--keep-last-epochs 2) # ours

# The test
evaluation=(                      # their evaluate_lm_wiki103.sh
    --batch-size 2
    --tokens-per-sample 512
    --context-window 400
)
