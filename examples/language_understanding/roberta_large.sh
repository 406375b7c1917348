# shellcheck shell=bash disable=SC2034
# What all tasks of GLUE share: RoBERTa-large from its checkpoint. Where a setting comes from:
#   [R-Drop]   the authors of the paper, Liang et al. 2021 (github.com/dropreg/R-Drop):
#              fairseq_src/examples/roberta/run.sh and, by task, huggingface_transformer_src/README.md

corpus=glue
regression=''

task_flags=(--task sentence_prediction --init-token 0 --separator-token 2)

model=(
    --arch roberta_large          # [R-Drop]
    --max-positions 512           # [R-Drop]
    --dropout 0.1                 # [R-Drop]
    --attention-dropout 0.1       # [R-Drop]
)
max_tokens=4400                   # [R-Drop] of a batch at most
optimization=(
    --batch-size 8                # [R-Drop]
    --required-batch-size-multiple 1
    --optimizer adam              # [R-Drop]
    --adam-betas '(0.9, 0.98)'    # [R-Drop]
    --adam-eps 1e-6               # [R-Drop]
    --weight-decay 0.01           # [R-Drop]
    --clip-norm 0                 # [R-Drop]
    --lr 1e-5                     # [R-Drop]
    --lr-scheduler polynomial_decay  # [R-Drop]
    --fp16-init-scale 4           # [R-Drop]
    --threshold-loss-scale 1      # [R-Drop]
    --fp16-scale-window 128       # [R-Drop]
)
rdrop_alpha=1                     # [R-Drop] the default of their criterion; they chose it by task
plain_criterion=(--criterion sentence_prediction)
rdrop_criterion=(--criterion rdrop_sentence_prediction)
validation=(
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric
    --no-epoch-checkpoints
)
default_subset=valid
