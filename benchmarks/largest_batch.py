#!/usr/bin/env python3
"""How many target tokens fit into an update in so much memory: plain, and both R-Drops."""

import gc
from contextlib import contextmanager

import torch

from benchmarks.measure import append, options, peak_in_a_fresh_process, rows_of
from benchmarks.train_step import BUILTIN, SINGLE, VARIANTS, Case, batch, one_update, updates

# train_step comes first: it silences what fairseq says when it is imported
# isort: split

from fairseq.criterions import CRITERION_REGISTRY

from rdrop_fairseq.losses.chunks import MIB

MOST = 2**17  # tokens; the corpus of train_step.py has hardly more
COMPARED = (SINGLE, BUILTIN, "fused from features")


def largest(fits, start: int, precision: float) -> int:
    """The largest number that fits, by doubling and then by bisection; 0 if ``start`` does not.

    Args:
        fits: from a number to whether it fits; of larger ones than one that does not, none does.
        precision: of the result, as a ratio.
    """
    low, high = 0, start
    while fits(high):
        if high == MOST:
            return MOST
        low, high = high, min(2 * high, MOST)
    while low and high / low > 1 + precision:
        middle = round((low * high) ** 0.5)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@contextmanager
def free_on_gpu(mebibytes: int):
    """Take the rest of the GPU's memory. The fused loss asks what is free, not what is allowed."""
    free, _ = torch.cuda.mem_get_info()
    rest = torch.empty(max(0, free - mebibytes * MIB), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del rest
        gc.collect()
        torch.cuda.empty_cache()


def fits_on_gpu(case: Case, variant: str, mebibytes: int) -> bool:
    """Whether two updates run in so much memory of the GPU."""
    with free_on_gpu(mebibytes):
        try:
            two_updates(case, variant)
            fits = True
        except torch.cuda.OutOfMemoryError:
            fits = False
    return fits


def two_updates(case: Case, variant: str) -> None:
    """The second has the optimizer's state, which the first makes."""
    trainer, sample = updates(case, [variant])[variant].args
    for _ in range(2):
        fresh = {**sample, "net_input": dict(sample["net_input"])}
        trainer.train_step([fresh], raise_oom=True)


def fits_on_cpu(case: Case, variant: str, mebibytes: int) -> bool:
    """Whether the second update takes no more than so much memory."""
    return peak_in_a_fresh_process(one_update, case, variant) <= mebibytes


def measure(case: Case, variant: str, mebibytes: int, precision: float) -> dict:
    """A row of the CSV, whose ``tokens`` are the target tokens of the largest batch."""
    on_device = fits_on_gpu if case.device == "cuda" else fits_on_cpu

    def fits(max_tokens):
        return on_device(case._replace(max_tokens=max_tokens), variant, mebibytes)

    found = largest(fits, case.max_tokens, precision)
    tokens = int(batch(case._replace(max_tokens=found))["ntokens"]) if found else 0
    sizes = {"model": case.model, "tokens": tokens, "classes": case.classes, "width": ""}
    (row,) = rows_of(
        {variant: [0.0]},
        {variant: mebibytes},
        **{"benchmark": "largest_batch", **sizes, "dtype": case.dtype, "device": case.device},
    )
    return {**row, "repeats": 1, "minimum_s": "", "median_s": "", "maximum_s": ""}


def main():
    parser = options(__doc__, default_repeats=1)
    parser.add_argument("--model", default="transformer_vaswani_wmt_en_de_big")
    parser.add_argument("--classes", type=int, default=40000, help="size of the vocabulary")
    parser.add_argument("--memory", type=int, default=16384, help="MiB that there are")
    parser.add_argument("--start", type=int, default=1024, help="--max-tokens to start from")
    parser.add_argument("--precision", type=float, default=0.05, help="of the result")
    known = [name for name in COMPARED if VARIANTS[name][0] in CRITERION_REGISTRY]
    parser.add_argument("--variants", nargs="+", default=known, choices=known)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    case = Case(args.model, args.classes, args.start, args.dtype, args.device)
    print(f"{case.model}, V = {case.classes}, {case.dtype}, {args.memory} MiB\n")
    print("| variant | target tokens that fit |\n| --- | ---: |")
    for name in args.variants:
        row = measure(case, name, args.memory, args.precision)
        print(f"| {name} | {row['tokens']:,} |", flush=True)
        append(args.csv, [row])


if __name__ == "__main__":
    main()
