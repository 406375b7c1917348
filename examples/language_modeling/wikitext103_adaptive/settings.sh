# shellcheck shell=bash disable=SC2034
# Wikitext-103, a Transformer with adaptive inputs and softmax (Baevski and Auli, ICLR 2019). All
# settings are those of the authors of R-Drop (github.com/dropreg/R-Drop,
# language_model_rdrop/script/train_lm_adaptive_wiki103_rdrop.sh) where no other source is given.

# The text
published=(wiki.train.tokens wiki.valid.tokens wiki.test.tokens)
source_of_files=wikitext-103-v1.zip

# The model and its training
task_flags=(
    --task language_modeling
    --tokens-per-sample 3072
    --sample-break-mode none
    --skip-invalid-size-inputs-valid-test
    --ddp-backend legacy_ddp
)
model=(--arch transformer_lm_wiki103)
max_tokens=3072
update_freq=24                    # 3 on each of their 8 GPUs
optimization=(
    --optimizer nag
    --clip-norm 0.1
    --lr 1.0
    --lr-scheduler cosine
    --t-mult 2
    --lr-period-updates 270000
    --lr-shrink 0.75
    --warmup-updates 16000
    --warmup-init-lr 1e-7
    --min-lr 1e-4
    --stop-min-lr 1e-9
)
plain_criterion=(--criterion adaptive_loss)
rdrop_criterion=(--criterion rdrop_adaptive_loss)
rdrop_alpha=1                     # weight of the KL
max_updates=320000                # theirs without R-Drop: 286,000
validation=(--keep-last-epochs 2) # ours

# The test
evaluation=(                      # their evaluate_lm_wiki103.sh
    --batch-size 2
    --tokens-per-sample 512
    --context-window 400
)
