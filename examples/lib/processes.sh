# shellcheck shell=bash
# The processes that share the batches of an update, on one machine or many.

# $processes of this machine, unless given: as many of its GPUs as can share an update, 1 on a CPU.
choose_processes() {
    if [ -z "$processes" ]; then
        for ((processes = gpus > 0 ? gpus : 1; processes > 1; processes--)); do
            if [ $((update_freq % (processes * nodes))) = 0 ]; then break; fi
        done
    elif [ "$device" = gpu ] && [ "$processes" -gt "$gpus" ]; then
        die "$processes processes need as many GPUs and here are $gpus: lower --processes"
    fi
    all_processes=$((processes * nodes))
}

# On a CPU two processes of one thread are about as fast as one of two threads, and twice as fast beside other
# programs (benchmarks/README.md).
choose_processes_of_cpu() {
    local cores
    cores=$(count_cores)
    processes=$((cores > 1 ? 2 : 1))
    all_processes=$processes
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores / processes))}
}

# All processes share the batches of an update, or the tokens of its only batch, so its size stays. A number of
# sentences (--batch-size) is one for each process and cannot be shared.
share_batches() {
    update_freq_each=$update_freq max_tokens_each=$max_tokens
    if [ $((update_freq % all_processes)) = 0 ]; then
        update_freq_each=$((update_freq / all_processes))
    elif [ "$update_freq" = 1 ] && [ $((max_tokens % all_processes)) = 0 ] &&
        [[ " ${optimization[*]} " != *' --batch-size '* ]]; then
        max_tokens_each=$((max_tokens / all_processes))
    else
        die "$all_processes processes cannot share an update of $update_freq x $max_tokens tokens:" \
            "give --processes a divisor of $update_freq, or set max_tokens and update_freq in" \
            "$task_dir/$benchmark/settings.sh"
    fi
}

# launch DATA ARGUMENTS: fairseq-train itself, or under torchrun in as many processes. fairseq is told
# its rank explicitly, since on a CPU it would otherwise train once in each process. The backends come first,
# so that the user's own arguments win.
launch() {
    if [ "$all_processes" = 1 ]; then
        supervise fairseq-train "$@" --distributed-world-size 1
        return
    fi
    local backend=nccl meeting=(--master-addr "${master%:*}" --master-port "${master##*:}")
    [ "$device" = gpu ] || backend=gloo
    [ "${master##*:}" != 0 ] || meeting=(--standalone) # at a port that is free
    # shellcheck disable=SC2016
    supervise torchrun --nnodes "$nodes" --node-rank "$node_rank" --nproc-per-node "$processes" \
        "${meeting[@]}" --no-python \
        bash -c 'exec fairseq-train "$@" --distributed-world-size "$WORLD_SIZE" \
            --distributed-rank "$RANK" --device-id "$LOCAL_RANK"' fairseq-train \
        "$1" --distributed-backend "$backend" --ddp-backend legacy_ddp "${@:2}" \
        --distributed-init-method env:// --distributed-no-spawn
}
