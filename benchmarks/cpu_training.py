#!/usr/bin/env python3
"""Tokens per second of the quickstart's training on a CPU, by processes, threads and malloc."""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
CRITERIA = {
    "plain": ("--criterion", "label_smoothed_cross_entropy"),
    "R-Drop": ("--criterion", "rdrop_label_smoothed_cross_entropy", "--reg-alpha", "1"),
}
# What examples/translation/quickstart.sh starts, here in any number of processes
TRAIN = """
set -euo pipefail
lib=examples/lib program=cpu_training.py
. $lib/lock.sh; . $lib/signals.sh; . $lib/processes.sh; . $lib/memory.sh
. examples/translation/quickstart/settings.sh
device=cpu nodes=1 node_rank=0 master=localhost:29517 processes=$1 all_processes=$1
if [ "$2" = kept ]; then keep_memory; fi
if [ "$5" != 0 ]; then max_tokens=$5; fi
launch "$3" --user-dir rdrop_fairseq --task translation "${model[@]}" "${@:6}" \
    --label-smoothing "$label_smoothing" --max-tokens $((max_tokens / processes)) --seed 1 \
    "${optimization[@]}" --lr-scheduler fixed --warmup-updates "$warmup_updates" --max-update "$4" \
    --cpu --disable-validation --no-save --log-format json --log-interval 10
"""


def train(data, updates, criterion, processes, threads, memory, max_tokens=0):
    """Return tokens per second (median of ten updates each), CPU seconds and the peak in MiB.

    max_tokens is that of an update, 0 that of the quickstart.
    """
    words = (processes, memory, data, updates, max_tokens, *CRITERIA[criterion])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["bash", "-c", TRAIN, "bash", *map(str, words)],
            **{"cwd": REPOSITORY, "env": {**os.environ, **environment}},
            **{"stdout": output, "stderr": subprocess.STDOUT},
        )
        _, status, used = os.wait4(process.pid, 0)  # the peak is that of the largest process
        process.returncode = status
        output.seek(0)
        log = output.read()
    lines = [json.loads(line[line.index("{") :]) for line in log.splitlines() if '"wps"' in line]
    if status or len(lines) < 2:
        raise SystemExit(log)
    speed = median(float(line["wps"]) for line in lines[1:])  # the first ten updates warm up
    return speed, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="binarized, as the quickstart makes it")
    parser.add_argument("--updates", type=int, default=40, help="of each training (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved rounds (%(default)s)")
    parser.add_argument("--max-tokens", type=int, default=0, help="of an update (the quickstart's)")
    parser.add_argument("--busy", action="store_true", help="another program keeps one core busy")
    args = parser.parse_args()
    variants = list(product(CRITERIA, ((1, 1), (1, 2), (2, 1)), ("given back", "kept")))
    results = {variant: [] for variant in variants}
    with busy_core() if args.busy else contextlib.nullcontext():
        for _ in range(args.repeats):
            for variant in variants:
                criterion, shape, memory = variant
                words = (args.updates, criterion, *shape, memory, args.max_tokens)
                results[variant].append(train(args.data.resolve(), *words))
                print(criterion, *shape, memory, *map(round, results[variant][-1]), flush=True)
    print_table(results)


@contextlib.contextmanager
def busy_core():
    """Another program computes, for a while."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def print_table(results):
    """Print the medians of the rounds, and the speed as a ratio to the first of its criterion."""
    print("| criterion | processes x threads | memory | tokens/s | ratio | CPU s | peak MiB |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for (criterion, shape, memory), rounds in results.items():
        first = next(values for variant, values in results.items() if variant[0] == criterion)
        speed, seconds, peak = map(median, zip(*rounds))
        ratio = median(one[0] / base[0] for one, base in zip(rounds, first))
        place = f"{criterion} | {shape[0]} x {shape[1]} | {memory}"
        print(f"| {place} | {speed:.0f} | {ratio:.2f} | {seconds:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
