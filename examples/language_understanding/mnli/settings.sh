# shellcheck shell=bash disable=SC2034
# MNLI of GLUE. [R-Drop] is the source that ../roberta_large.sh names.

. "$task_dir/roberta_large.sh"
glue_task=MNLI
task_flags+=(--num-classes 3)
update_freq=4                     # [R-Drop] batches of 8 sentences an update
optimization+=(--warmup-updates 7432)  # [R-Drop]
declare -gA updates_of=([train]=123873)  # [R-Drop]
