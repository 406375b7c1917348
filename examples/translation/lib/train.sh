# Trains a model of a benchmark: sourced by its train.sh, which sets
#   model, optimization, validation   arguments of fairseq-train
#   reg_alpha, max_updates            what the paper has
#   max_tokens, update_freq           the global batch: tokens of a batch, batches of an update

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<EOF
Usage: bash examples/translation/$benchmark/train.sh [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Trains with R-Drop on what prepare.sh made; an interrupted training continues.

  --baseline         plain label smoothing, everything else equal
  --alpha A          weight of the KL ($reg_alpha)
  --seed N           (1)
  --reverse          translate in the other direction
  --max-updates N    ($max_updates)
  --precision P      fp16, bf16 or fp32 (fp16 on a GPU, else fp32)
  --cpu              train on the CPU, even where there is a GPU
  --processes N      on this machine, one for each GPU (as many GPUs as can share an update)
  --nodes N          machines, each of which runs this script (1)
  --node-rank R      the number of this machine, from 0 (0)
  --master HOST:PORT the first machine, and a free port there (localhost:29500)
  --name NAME        of the run (rdrop-alpha${reg_alpha}-seed1 or baseline-seed1)
  --out DIR          of prepare.sh ($out)
  --help             this text

An update is made of $max_tokens tokens x $update_freq, however many processes share them.
EOF
}

train() {
    read_training_options "$@"
    [ -z "${WORLD_SIZE:-}" ] ||
        die "this script starts torchrun itself: run it alone, with --processes and --nodes"
    [ -e "$out/binarized" ] || die "there is no $out/binarized: run prepare.sh first"
    need_program fairseq-train
    read_languages
    if [ -n "$reverse" ]; then read -r source target <<<"$target $source"; fi
    choose_device
    share_batches
    begin_run
    if is_finished; then
        say "already trained: $run"
        return
    fi
    say "training $source-$target in $run: $((processes * nodes)) x $update_freq_each batches of" \
        "$max_tokens tokens an update, $precision on $device"
    launch "$out/binarized" --user-dir "$repo/rdrop_fairseq" --task translation \
        --source-lang "$source" --target-lang "$target" \
        "${model[@]}" "${optimization[@]}" "${criterion[@]}" \
        --max-tokens "$max_tokens" --update-freq "$update_freq_each" --max-update "$max_updates" \
        "${precision_flags[@]}" "${validation[@]}" --eval-bleu-remove-bpe "$(joining_of_subwords)" \
        --seed "$seed" --save-dir "$run" --log-format json --log-interval 50 \
        --log-file "$run/train.log" --tensorboard-logdir "$run/tensorboard" "${extra[@]}" ||
        die "the training stopped, the lines above say why$(and_continue)"
    if [ "$node_rank" = 0 ]; then finish; fi
    say "trained: $run"
}

# What is there of the run may go on; everything but how long it trains must be the same.
begin_run() {
    run=$out/${name:-$(run_name)}
    settings="$source-$target ${criterion[*]} ${model[*]} ${optimization[*]} --seed $seed $precision"
    settings+=" $max_tokens x $update_freq ${extra[*]}"
    mkdir -p "$run"
    if [ "$node_rank" = 0 ]; then
        keep_settings "$run/settings" "$settings" \
            "name another run with --name, or remove that file to continue with these"
        keep_whole_checkpoint "$run"
    fi
}

# fairseq counts its --patience anew when it is started again, so that it would go on training.
is_finished() { [ "$(cat "$run/finished" 2>/dev/null)" = "$settings, $max_updates updates" ]; }

finish() {
    # fairseq may train nothing at all and still end well
    [ -e "$run/checkpoint_last.pt" ] || die "fairseq-train made no checkpoint in $run"
    echo "$settings, $max_updates updates" >"$run/finished"
}

read_training_options() {
    baseline='' reverse='' cpu='' precision='' processes='' name=''
    seed=1 nodes=1 node_rank=0 master=localhost:29500 extra=()
    while [ $# -gt 0 ]; do
        case $1 in
            --alpha | --seed | --max-updates | --precision | --processes | --nodes | --node-rank | \
                --master | --name | --out) needs_value $# "$1" ;;
        esac
        case $1 in
            --baseline) baseline=yes ;;
            --reverse) reverse=yes ;;
            --cpu) cpu=yes ;;
            --alpha) reg_alpha=$2; shift ;;
            --seed) seed=$2; shift ;;
            --max-updates) max_updates=$2; shift ;;
            --precision) precision=$2; shift ;;
            --processes) processes=$2; shift ;;
            --nodes) nodes=$2; shift ;;
            --node-rank) node_rank=$2; shift ;;
            --master) master=$2; shift ;;
            --name) name=$2; shift ;;
            --out) out=$2; shift ;;
            --) shift; extra=("$@"); break ;;
            --help | -h) usage; exit ;;
            *) refuse "unknown option $1" ;;
        esac
        shift
    done
    whole_number --seed "$seed"
    whole_number --max-updates "$max_updates"
    whole_number --nodes "$nodes"
    [[ $node_rank =~ ^[0-9]+$ && $node_rank -lt $nodes ]] ||
        refuse "--node-rank is from 0 to $((nodes - 1)), not '$node_rank'"
    [[ $master =~ .:[0-9]+$ ]] || refuse "--master is HOST:PORT, not '$master'"
    if [ -n "$baseline" ]; then
        criterion=(--criterion label_smoothed_cross_entropy --label-smoothing 0.1)
    else
        criterion=(--criterion rdrop_label_smoothed_cross_entropy --label-smoothing 0.1
            --reg-alpha "$reg_alpha")
    fi
}

choose_device() {
    local gpus=0
    [ -n "$cpu" ] || gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
    if [ "$gpus" = 0 ]; then device=cpu; else device=gpu; fi
    if [ -z "$processes" ]; then processes=$(most_processes "$gpus"); fi
    whole_number --processes "$processes"
    if [ $device = gpu ] && [ "$processes" -gt "$gpus" ]; then
        die "$processes processes need as many GPUs and here are $gpus: lower --processes"
    fi
    precision=${precision:-$([ $device = gpu ] && echo fp16 || echo fp32)}
    case $device-$precision in
        gpu-fp16) precision_flags=(--fp16) ;;
        gpu-bf16) precision_flags=(--bf16) ;;
        gpu-fp32) precision_flags=() ;;
        cpu-fp32) precision_flags=(--cpu) ;;
        cpu-fp16) precision_flags=(--cpu --memory-efficient-fp16) ;;
        cpu-bf16) die "fairseq does not run bf16 on a CPU: leave --precision out" ;;
        *) refuse "--precision is fp16, bf16 or fp32, not '$precision'" ;;
    esac
}

# The most of so many GPUs that can share the batches of an update, 1 on a CPU.
most_processes() {
    local count
    for ((count = $1; count > 1; count--)); do
        if [ $((update_freq % (count * nodes))) = 0 ]; then break; fi
    done
    echo $((count > 1 ? count : 1))
}

and_continue() { [ ! -e "$run/checkpoint_last.pt" ] || echo "; the same command continues it"; }

# The batches of an update are shared by all processes, so that it stays the same update.
share_batches() {
    local all=$((processes * nodes))
    if [ $((update_freq % all)) != 0 ]; then
        die "$all processes cannot share an update of $update_freq x $max_tokens tokens: give" \
            "--processes a divisor of $update_freq, or set max_tokens and update_freq in $0"
    fi
    update_freq_each=$((update_freq / all))
}

run_name() {
    local direction=''
    [ -z "$reverse" ] || direction=$source-$target-
    if [ -n "$baseline" ]; then
        echo "${direction}baseline-seed$seed"
    else
        echo "${direction}rdrop-alpha$reg_alpha-seed$seed"
    fi
}

# launch ARGUMENTS: fairseq-train itself, or under torchrun in as many processes. fairseq is told
# its rank in so many words, since on a CPU it would otherwise train once in each process.
launch() {
    if [ $((processes * nodes)) = 1 ]; then
        fairseq-train "$@" --distributed-world-size 1
        return
    fi
    local backend=nccl
    [ $device = gpu ] || backend=gloo
    # shellcheck disable=SC2016
    torchrun --nnodes "$nodes" --node-rank "$node_rank" --nproc-per-node "$processes" \
        --master-addr "${master%:*}" --master-port "${master##*:}" --no-python \
        bash -c 'exec fairseq-train "$@" --distributed-world-size "$WORLD_SIZE" \
            --distributed-rank "$RANK" --device-id "$LOCAL_RANK"' fairseq-train "$@" \
        --distributed-init-method env:// --distributed-no-spawn \
        --distributed-backend "$backend" --ddp-backend legacy_ddp
}
