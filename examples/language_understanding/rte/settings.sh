# shellcheck shell=bash disable=SC2034
# RTE of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=RTE
task_flags+=(--num-classes 2)
update_freq=1                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 122)  # [R-Drop]
declare -gA updates_of=([train]=2036)  # [R-Drop]
