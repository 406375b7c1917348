# shellcheck shell=bash disable=SC2034
# WMT14 English-French: as English-German, for which alone the authors give settings, but for these.
. "$task_dir/wmt14_en_de/settings.sh"

held_out=(--valid-every 1333)     # prepare-wmt14en2fr.sh in examples/translation of fairseq
other_valid=''                    # no other set to validate on
score_options=(--tokenized)       # the paper's score
