# shellcheck shell=bash disable=SC2034
# As interface_text, with adaptive inputs and softmax, tied as in transformer_lm_wiki103.

. "$task_dir/interface_text/settings.sh"

model=(
    --arch transformer_lm
    --decoder-layers 2
    --decoder-embed-dim 64
    --decoder-input-dim 64
    --decoder-output-dim 64
    --decoder-ffn-embed-dim 256
    --decoder-attention-heads 4
    --decoder-normalize-before
    --adaptive-input
    --adaptive-input-cutoff 500,2000
    --adaptive-input-factor 2
    --adaptive-softmax-cutoff 500,2000
    --adaptive-softmax-factor 2
    --adaptive-softmax-dropout 0.2
    --tie-adaptive-weights
    --tie-adaptive-proj
    --dropout 0.2
)
plain_criterion=(--criterion adaptive_loss)
rdrop_criterion=(--criterion rdrop_adaptive_loss)
