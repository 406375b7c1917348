# shellcheck shell=bash disable=SC2034
# CoLA of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=CoLA
task_flags+=(--num-classes 2)
update_freq=2                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 320)  # [R-Drop]
declare -gA updates_of=([train]=5336)  # [R-Drop]
report=(--report-mcc)             # Matthews correlation
plain_criterion+=("${report[@]}")
rdrop_criterion+=("${report[@]}")
validation+=(--best-checkpoint-metric mcc)
