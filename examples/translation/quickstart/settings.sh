# shellcheck shell=bash disable=SC2034
# The quickstart. Settings without a source were chosen by trial for 12 minutes on 2 CPU cores: see
# "How the model was chosen" in README.md.

# The corpus
corpus_pairs=''                   # all
bpe_size=4000                     # pieces of sentencepiece, for both languages

# The model and its training
model=(
    --arch transformer
    --share-all-embeddings
    --dropout 0.1                 # Vaswani et al. 2017
    --encoder-normalize-before    # trains faster
    --decoder-normalize-before
    --encoder-layers 3
    --encoder-embed-dim 192
    --encoder-ffn-embed-dim 768
    --encoder-attention-heads 4
    --decoder-layers 2
    --decoder-embed-dim 192
    --decoder-ffn-embed-dim 768
    --decoder-attention-heads 4
)
max_tokens=1024                   # of an update, however many processes share it
peak_rate=2e-3                    # of learning
optimization=(
    --optimizer adam              # Vaswani et al. 2017
    --adam-betas '(0.9, 0.98)'    # Vaswani et al. 2017
    --clip-norm 1
    --lr "$peak_rate"
)
label_smoothing=0.1               # Vaswani et al. 2017
rdrop_alpha=1                     # weight of the KL; the paper's 5 wants many more updates than fit
training_minutes=12               # of each model
warmup_updates=200
constant_share=0.5                # of the time at the full learning rate; then it falls to zero
plain_share=0.9                   # of the time before R-Drop has its second pass and KL
rdrop_update=1.8                  # time of an update with a second pass, in plain ones: ../../../benchmarks

# Translation
search=(
    --beam 5
    --lenpen 1.5                  # chosen on the validation set for R-Drop; plain training may want less
    --max-len-a 2
    --max-len-b 10
)

# The same on a slice of the corpus, in less than two minutes
smoke_settings() {
    corpus_pairs=3000
    training_minutes=0.5
    warmup_updates=20
}
