# shellcheck shell=bash disable=SC2034
# SST-2 of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=SST-2
task_flags+=(--num-classes 2)
update_freq=4                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 1256)  # [R-Drop]
declare -gA updates_of=([train]=20935)  # [R-Drop]
