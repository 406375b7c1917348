# shellcheck shell=bash disable=SC2034
# STS-B of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task/roberta_large.sh"
glue_task=STS-B
num_classes=1
update_freq=2                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 214)  # [R-Drop]
declare -gA updates_of=([train]=3598)  # [R-Drop]
regression=yes
report=(--report-pearson-and-spearman)
validation+=(--best-checkpoint-metric pearson_and_spearman)
