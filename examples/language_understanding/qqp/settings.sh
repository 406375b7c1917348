# shellcheck shell=bash disable=SC2034
# QQP of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=QQP
task_flags+=(--num-classes 2)
update_freq=4                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 28318)  # [R-Drop]
declare -gA updates_of=([train]=113272)  # [R-Drop]
report=(--report-acc-and-f1)
plain_criterion+=("${report[@]}")
rdrop_criterion+=("${report[@]}")
