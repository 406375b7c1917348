#!/usr/bin/env python3
"""Where the time of an update goes: plain next to R-Drop, by kind of operation.

A kind that R-Drop does twice as long works on both views.
"""

import argparse
import re

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.train_step import SINGLE, Case, updates

FUSED = "fused from features"
KINDS = {  # what runs inside of which operator of PyTorch; the first that matches
    "Adam": r"Optimizer.step",
    "matrix products": r"^aten::(addmm|mm|bmm|baddbmm)$",
    "loss": r"RDropOf|log_softmax|nll|gather|scatter",
    "softmax of attention": r"softmax",
    "dropout": r"dropout|bernoulli",
    "layer norm": r"layer_norm",
    "embedding": r"embedding",
    "copies": r"copy_|aten::cat$|zero_|fill_",
    "other": r"",
}


def kind_of(event) -> str:
    """The first kind that fits the operator or one that called it."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return next(
        kind for kind, pattern in KINDS.items() if any(re.search(pattern, name) for name in names)
    )


def seconds_by_kind(run, rounds: int) -> dict:
    """Seconds of an update spent in each kind of operation, the mean of some rounds."""
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(rounds):
            run()
    seconds = dict.fromkeys(KINDS, 0.0)
    for event in measured.events():
        seconds[kind_of(event)] += event.self_cpu_time_total / 1e6 / rounds
    return seconds


def table(plain: dict, fused: dict) -> str:
    """Markdown: seconds and share of both, and their ratio."""
    lines = [
        "| | plain s | share | R-Drop s | share | R-Drop / plain |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    totals = sum(plain.values()), sum(fused.values())
    for kind in [*KINDS, "all"]:
        one, two = (plain[kind], fused[kind]) if kind in plain else totals
        ratio = f"{two / one:.2f}" if one > 0.001 else ""
        shares = f"{one / totals[0]:.0%}", f"{two / totals[1]:.0%}"
        lines.append(f"| {kind} | {one:.3f} | {shares[0]} | {two:.3f} | {shares[1]} | {ratio} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="transformer_iwslt_de_en", help="fairseq architecture")
    parser.add_argument("--classes", type=int, default=10152, help="size of the vocabulary")
    parser.add_argument("--max-tokens", type=int, default=2048, help="as in fairseq-train")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    case = Case(args.model, args.classes, args.max_tokens, "float32", "cpu")
    variants = updates(case, [SINGLE, FUSED])
    for run in variants.values():
        run()  # Adam's state is made in the first update
    print(table(*(seconds_by_kind(run, args.rounds) for run in variants.values())))


if __name__ == "__main__":
    main()
