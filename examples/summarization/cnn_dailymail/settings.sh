# shellcheck shell=bash disable=SC2034
# CNN/DailyMail with BART. All settings are those of the authors of R-Drop (github.com/dropreg/R-Drop,
# summeration_rdrop/script/run_train.sh and run_inference.py) where no other source is given.

# The text: articles and highlights, cased and not tokenized
published=({train,val,test}.{source,target} encoder.json vocab.bpe dict.txt bart.large/model.pt)
source_of_files="see examples/summarization/README.md"
source_language=source
target_language=target

# The model and its training
task_flags=(
    --task translation
    --source-lang source
    --target-lang target
    --truncate-source             # articles are longer than the model can read
    --required-batch-size-multiple 1
    --skip-invalid-size-inputs-valid-test
)
model=(
    --arch bart_large             # from its checkpoint
    --layernorm-embedding
    --share-all-embeddings
    --share-decoder-input-output-embed
    --dropout 0.1
    --attention-dropout 0.1
)
max_tokens=1024
update_freq=64                    # 16 on each of their 4 GPUs
optimization=(
    --optimizer adam
    --adam-betas '(0.9, 0.999)'
    --adam-eps 1e-8
    --weight-decay 0.01
    --clip-norm 0.1
    --lr 3e-5
    --lr-scheduler polynomial_decay # to zero at the last of max_updates
    --warmup-updates 500
)
plain_criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.1)
rdrop_criterion=(--criterion rdrop_label_smoothed_cross_entropy --label-smoothing 0.1)
rdrop_alpha=0.7                   # weight of the KL
max_updates=20000
validation=(--keep-last-epochs 2) # ours

# Summaries and their score
search=(
    --beam 4
    --lenpen 2
    --max-len-b 140
    --min-len 55
    --no-repeat-ngram-size 3
)
rouge_options=(--sentences)       # as files2rouge, which they use
