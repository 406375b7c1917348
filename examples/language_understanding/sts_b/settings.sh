# shellcheck shell=bash disable=SC2034
# STS-B of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=STS-B
task_flags+=(--num-classes 1)
update_freq=2                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 214)  # [R-Drop]
declare -gA updates_of=([train]=3598)  # [R-Drop]
regression=yes
report=(--regression-target --report-pearson-and-spearman)
plain_criterion+=("${report[@]}")
rdrop_criterion+=("${report[@]}")
validation+=(--best-checkpoint-metric pearson_and_spearman)
