#!/usr/bin/env python3
"""Time and memory of R-Drop of an adaptive softmax and its gradients, in chunks and without."""

from functools import partial
from typing import NamedTuple

import torch

from benchmarks.measure import (
    append,
    interleaved,
    options,
    peaks,
    rows_of,
    table,
)
from rdrop_fairseq.adaptive_head import reference_loss
from rdrop_fairseq.losses.adaptive import adaptive_rdrop_loss
from rdrop_fairseq.losses.fused import linear_rdrop_loss

PLAIN = "all tokens of a cluster, plain PyTorch"


def of_its_own_tokens(features, weight, bias, target, alpha, smoothing, padding_idx, *others):
    """The reference, without the tokens of other clusters: as the authors of R-Drop have it."""
    here = target.ne(padding_idx)
    arguments = alpha, smoothing, padding_idx, *others
    return reference_loss(features[:, here], weight, bias, target[here], *arguments)


VARIANTS = {PLAIN: of_its_own_tokens, "in chunks": linear_rdrop_loss}


class Case(NamedTuple):
    """Half of the tokens have a frequent word, the others are spread over the tails."""

    tokens: int
    sizes: tuple  # words of the head and of each tail
    widths: tuple  # of the features of each
    dtype: str
    device: str


def build(case: Case, variant: str):
    """Random operands, with their gradients in place, and what is measured of them."""
    torch.manual_seed(0)
    kind = {"dtype": getattr(torch, case.dtype), "device": case.device}
    classes = (case.sizes[0] + len(case.sizes) - 1, *case.sizes[1:])
    weights = [torch.randn(*shape, **kind) for shape in zip(classes, case.widths)]
    features = torch.randn(2, case.tokens, sum(case.widths), **kind)
    for operand in (features, *weights):
        operand.requires_grad_().grad = torch.zeros_like(operand)
    rare = torch.randint(case.sizes[0], sum(case.sizes), (case.tokens // 2,))
    frequent = torch.randint(2, case.sizes[0], (case.tokens - len(rare),))
    target = torch.cat([rare, frequent]).to(case.device)
    return partial(run, VARIANTS[variant], features, weights, target)


def run(loss, features, weights, target):
    """Forward and backward."""
    adaptive_rdrop_loss(features, weights, target, 1.0, 1, loss=loss).loss.backward()


def main():
    parser = options(__doc__, default_repeats=3)
    parser.add_argument("--tokens", type=int, default=512)
    args = parser.parse_args()
    # transformer_lm_wiki103 on its text: 267,744 words, cut at 20,000 and 60,000
    sizes, widths = (20_000, 40_000, 207_744), (1024, 256, 64)
    if args.quick:
        sizes, args.repeats = (500, 1000, 2000), 2
    torch.set_num_threads(args.threads)
    case = Case(args.tokens, sizes, widths, args.dtype, args.device)
    runs = {name: build(case, name) for name in VARIANTS}
    seconds = interleaved(runs, args.repeats, args.device)
    del runs
    memory = peaks(build, case, list(VARIANTS))
    about = {
        "benchmark": "adaptive_softmax",
        "model": "",
        "tokens": case.tokens,
        "classes": sum(sizes),
        "width": widths[0],
        "dtype": case.dtype,
        "device": case.device,
    }
    rows = rows_of(seconds, memory, **about)
    print(table(rows, [PLAIN]))
    append(args.csv, rows)


if __name__ == "__main__":
    main()
