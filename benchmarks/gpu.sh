#!/usr/bin/env bash
# Everything that a GPU is needed for, in one command: see --help.
set -euo pipefail

unset CDPATH # where it is exported, cd prints where it went
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"

. examples/lib/options.sh

refuse() { echo "gpu.sh: $*; see --help" >&2; exit 2; }

usage() {
    cat <<END
Usage: bash benchmarks/gpu.sh [OPTIONS]

In the activated environment, runs the tests marked gpu, times the loss head and whole updates in fp16
and bf16, finds how many tokens fit, and trains Multi30k plain and with R-Drop: at most 25 minutes on
one GPU, without a network. Rows go to benchmarks/results.csv, the tables to the section "On a GPU" of
benchmarks/README.md, which are files of the checkout.

In a job with a time limit, one part at a time by --only: tests (3 minutes at most), loss_head (5),
train_step (5), largest_batch (3), multi30k (11).

$(describe_options)
END
}

option only PREFIX '' "make only the steps whose names begin so (every step)"
flag tiny "try this script on the CPU, in tiny sizes, minutes: rows and tables go to --out alone"
option multi30k DIR "$repository/../shared/data/multi30k" \
    "folder with {train,val,test_2016_flickr}.{en,de}.gz of Multi30k"
option out DIR "$repository/runs/gpu" "where the logs of the steps and the trained models go"
parse_options "$@"
if [[ multi30k-prepare = "$only"* && ! -d $multi30k ]]; then
    refuse "--multi30k: there is no folder '$multi30k' with Multi30k"
fi
[ -n "$out" ] || refuse "--out needs a folder"
mkdir -p "$out"
out=$(cd "$out" && pwd)

device=cuda precisions='float16 bfloat16' csv=$repository/benchmarks/results.csv
report=$repository/benchmarks/README.md train_precision=fp16 processes=()
heads=('10152 512' '40000 1024') tokens=4096 max_tokens=4096 rounds=5
models=(transformer_iwslt_de_en transformer_vaswani_wmt_en_de_big) vocabularies='10152 40000'
compiled=('three matrix products' 'fused from features' 'fused from features, torch.compile')
fit=(--memory 16384 --start 2048 --precision 0.1) search=() tests=() slower=1
updates=3500 # of up to 4,096 tokens, until the learning rate is zero
export RDROP_GPU_TESTS=cuda
if [ "$tiny" ]; then
    device=cpu precisions=float32 csv=$out/results.csv report=$out/README.md train_precision=fp32
    heads=('60 8') tokens=16 max_tokens=64 rounds=1
    models=(transformer_tiny) vocabularies=300
    fit=(--memory 80 --start 2048 --precision 1 --model transformer_tiny --classes 300
        --variants 'fused from features')
    compiled=("${compiled[@]:0:2}") updates=4
    tests=(-k 'float32 or waits')
    search=(--cpu --beam 1)
    slower=10
    processes=(--cpu --processes 1)
    export RDROP_GPU_TESTS=cpu
    rm -f "$csv"
    cp "$repository/benchmarks/README.md" "$report"
elif ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu.sh: PyTorch finds no GPU here; --tiny tries the script on the CPU" >&2
    exit 1
fi

made=0 failed=()
# step NAME SECONDS COMMAND...: its output in a log; what fails or takes too long stops no other step.
step() {
    local name=$1 seconds=$2 begin=$SECONDS
    shift 2
    [[ $name = "$only"* ]] || return 0
    made=$((made + 1))
    if timeout --kill-after 5 $((seconds * slower)) "$@" >"$out/$name.log" 2>&1; then
        echo "==> $name: done in $((SECONDS - begin)) s"
    else
        echo "==> $name: FAILED after $((SECONDS - begin)) s, see $out/$name.log" >&2
        failed+=("$name")
    fi
}

# Larger batches than a CPU wants, and fewer validations. Where a GPU is too slow for all updates, the
# training ends after 216 seconds, with what it has.
training=(--max-updates "$updates" -- --max-tokens "$max_tokens" --stop-time-hours 0.06
    --lr-scheduler polynomial_decay --total-num-update "$updates" --warmup-updates $((updates / 8))
    --validate-interval 5 --save-interval 5)

common=(--device "$device" --csv "$csv")
step tests 170 python -m pytest -m gpu --numprocesses 3 -rs tests/test_gpu.py "${tests[@]}"
# time_head NAME SECONDS DTYPE CLASSES WIDTH [OPTIONS]
time_head() {
    step "loss_head-$1" "$2" python benchmarks/loss_head.py "${common[@]}" --dtype "$3" \
        --repeats "$rounds" --tokens "$tokens" --classes "$4" --width "$5" "${@:6}"
}
for dtype in $precisions; do
    for sizes in "${heads[@]}"; do
        read -r classes width <<<"$sizes"
        time_head "$classes-$dtype" 45 "$dtype" "$classes" "$width"
    done
    for model in "${models[@]}"; do
        limit=22
        if [[ $model = *_big ]]; then limit=42; fi # most of it makes the model
        for classes in $vocabularies; do
            step "train_step-$model-$classes-$dtype" "$limit" python benchmarks/train_step.py \
                "${common[@]}" --dtype "$dtype" --repeats "$rounds" --model "$model" \
                --classes "$classes" --max-tokens "$max_tokens" --no-memory
        done
    done
done
# A step and a table of its own, with half as many tokens: it compiles for long.
read -r classes width <<<"${heads[0]}"
tokens=$((tokens / 2))
time_head compiled 90 "${precisions%% *}" "$classes" "$width" --variants "${compiled[@]}"
step largest_batch 150 python benchmarks/largest_batch.py "${common[@]}" \
    --dtype "${precisions%% *}" "${fit[@]}"

# From the start: a training of an earlier run would be taken for one of this run.
train() {
    rm -rf "$out/multi30k/$1"
    translate train --name "$@"
}
translate() { bash "examples/translation/$1.sh" multi30k_en_de --out "$out/multi30k" "${@:2}"; }
export -f translate train
export out
step multi30k-prepare 60 bash -c 'translate "$@"' _ prepare --orig "$multi30k"
for criterion in --baseline '--alpha 1'; do
    read -ra words <<<"$criterion"
    name=multi30k${words[0]}
    step "$name" 250 bash -c 'train "$@"' _ "$name" "${words[@]}" --precision "$train_precision" \
        "${processes[@]}" "${training[@]}"
    step "$name-score" 40 bash -c 'translate "$@"' _ evaluate "$name" "${search[@]}"
done

[ "$made" -gt 0 ] || refuse "no step begins with '$only'"
# It may have no rows yet.
python benchmarks/gpu_report.py --csv "$csv" --device "$device" --logs "$out" --readme "$report" ||
    [ -n "$only" ] || failed+=(report)
if [ ${#failed[@]} -gt 0 ]; then
    echo "gpu.sh: failed: ${failed[*]}" >&2
    exit 1
fi
echo "==> all done in $((SECONDS / 60)) minutes; the tables are in $report"
