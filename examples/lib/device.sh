# shellcheck shell=bash
# GPU or CPU, and the precision there.

# From $cpu (on the CPU even where there is a GPU) and $precision, both may be empty: $gpus, $device,
# $precision, and $precision_flags for fairseq.
choose_device() {
    gpus=0
    [ -n "$cpu" ] || gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
    if [ "$gpus" = 0 ]; then device=cpu; else device=gpu; fi
    precision=${precision:-$([ "$device" = gpu ] && echo fp16 || echo fp32)}
    case $device-$precision in
        gpu-fp16) precision_flags=(--fp16) ;;
        gpu-bf16) precision_flags=(--bf16) ;;
        gpu-fp32) precision_flags=() ;;
        cpu-fp32) precision_flags=(--cpu) ;;
        cpu-fp16) precision_flags=(--cpu --memory-efficient-fp16) ;;
        cpu-bf16) die "fairseq does not run bf16 on a CPU: leave --precision out" ;;
    esac
}
