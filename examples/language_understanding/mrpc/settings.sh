# shellcheck shell=bash disable=SC2034
# MRPC of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=MRPC
task_flags+=(--num-classes 2)
update_freq=2                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 137)  # [R-Drop]
declare -gA updates_of=([train]=2296)  # [R-Drop]
report=(--report-acc-and-f1)
plain_criterion+=("${report[@]}")
rdrop_criterion+=("${report[@]}")
