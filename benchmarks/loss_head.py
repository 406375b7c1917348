#!/usr/bin/env python3
"""Time and memory of projection, loss and their gradients alone, for every way to compute them."""

import functools
import importlib.util
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import torch

from benchmarks.measure import (
    append,
    available_memory,
    interleaved,
    options,
    peaks,
    rows_of,
    table,
)

# measure comes first: it silences what fairseq says when it is imported
# isort: split

from fairseq import utils
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
)
from fairseq.data import Dictionary
from torch.nn.functional import linear

from rdrop_fairseq.losses import kernel, of_features
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.reference import rdrop_loss

try:
    from fairseq.criterions.label_smoothed_cross_entropy_with_rdrop import (
        RdropLabelSmoothedCrossEntropyCriterion as BuiltinRDrop,
    )
except ImportError:  # fairseq 0.12.2 has none
    BuiltinRDrop = None

ALPHA, EPSILON, PAD = 5.0, 0.1, Dictionary().pad()
BUILTIN, DOUBLED, FLOOR = "fairseq's R-Drop", "plain, 2N rows", "three matrix products"
TRITON, COMPILED = "fused from features, Triton", "fused from features, torch.compile"


class Case(NamedTuple):
    """The sizes of one measurement."""

    tokens: int  # N: target tokens of one view, none of them padding
    classes: int
    width: int
    dtype: str
    device: str


class FakeModel:
    """What fairseq's criteria ask of a model, around logits that are there already."""

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        return (utils.log_softmax if log_probs else utils.softmax)(net_output[0], dim=-1)

    def get_targets(self, sample, net_output):
        return sample["target"]


def build(case: Case, variant: str):
    """A function that computes a loss and its gradients once, from data that is there already."""
    torch.manual_seed(0)
    make = partial(torch.randn, device=case.device, dtype=getattr(torch, case.dtype))
    features = make(2 * case.tokens, case.width).requires_grad_()
    weight = (make(case.classes, case.width) * case.width**-0.5).requires_grad_()
    target = torch.randint(PAD + 1, case.classes, (case.tokens,), device=case.device)
    if variant == FLOOR:
        operands = features.detach(), weight.detach()
        results = make(len(features), case.classes), *map(torch.empty_like, operands)
        return partial(three_products, *operands, *results)
    return partial(once, VARIANTS[variant], features, weight, target)


def once(loss_of, features, weight, target):
    """Forward and backward; the gradients are let go."""
    loss_of(features, weight, target).backward()
    features.grad = weight.grad = None


def three_products(features, weight, logits, grad_features, grad_weight):
    """The floor: logits and the gradients of both operands, into memory that is there already."""
    torch.mm(features, weight.t(), out=logits)
    torch.mm(logits, weight, out=grad_features)
    torch.mm(logits.t(), features, out=grad_weight)


def criterion_of(kind, **arguments):
    task = SimpleNamespace(target_dictionary=Dictionary())
    return kind(task, sentence_avg=False, label_smoothing=EPSILON, **arguments)


def plain(rows, features, weight, target):
    """fairseq's label smoothing on as many of the rows."""
    logits = linear(features[: rows * len(target)], weight)
    criterion = criterion_of(LabelSmoothedCrossEntropyCriterion)
    return criterion.compute_loss(FakeModel(), (logits,), {"target": target.repeat(rows)})[0]


def builtin(features, weight, target):
    """The R-Drop of newer versions of fairseq."""
    criterion = criterion_of(BuiltinRDrop, rdrop_alpha=ALPHA)
    return criterion.compute_loss(FakeModel(), (linear(features, weight),), {"target": target})[0]


def from_logits(loss, features, weight, target):
    logits = linear(features, weight).unflatten(0, (2, -1))
    return loss(logits, target, ALPHA, EPSILON, PAD).loss


def from_features(features, weight, target, **options):
    views = features.unflatten(0, (2, -1))
    return linear_rdrop_loss(views, weight, None, target, ALPHA, EPSILON, PAD, **options).loss


@functools.lru_cache(maxsize=1)
def compiled_kernel():
    """The elementwise part in PyTorch, as ``torch.compile`` makes it."""
    return torch.compile(kernel.loss_and_gradient_, dynamic=True)


def from_features_compiled(features, weight, target):
    """The elementwise part compiled: what the Triton kernel must beat."""
    with mock.patch.object(of_features, "loss_and_gradient_", compiled_kernel()):
        return from_features(features, weight, target)


VARIANTS = {
    "plain, N rows": partial(plain, 1),
    DOUBLED: partial(plain, 2),
    BUILTIN: builtin,
    "reference": partial(from_logits, rdrop_loss),
    "fused from logits": partial(from_logits, fused_rdrop_loss),
    "fused from features": from_features,
    TRITON: partial(from_features, kernel="triton"),
    COMPILED: from_features_compiled,
}


def fits(case: Case, variant: str) -> bool:
    """Whether ten float32 tensors of all logits find room, which the unfused variants may need."""
    if variant.startswith("fused from features"):
        return True
    return 10 * 4 * 2 * case.tokens * case.classes < available_memory(case.device)


def measure(case: Case, variants: list, repeats: int) -> list:
    fitting = [name for name in variants if fits(case, name)]
    for name in set(variants) - set(fitting):
        print(f"left out, too large for this machine: {name}")
    seconds = interleaved({name: build(case, name) for name in fitting}, repeats, case.device)
    memory = peaks(build, case, fitting)
    return rows_of(seconds, memory, benchmark="loss_head", model="", **case._asdict())


def main():
    parser = options(__doc__, default_repeats=5)
    known = [*VARIANTS, FLOOR]
    if BuiltinRDrop is None:
        known.remove(BUILTIN)
    if not importlib.util.find_spec("triton"):
        known.remove(TRITON)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096, 16384], help="N")
    parser.add_argument("--classes", type=int, nargs="+", default=[4000, 10152, 32000, 64000])
    parser.add_argument("--width", type=int, default=512, help="of the features")
    parser.add_argument("--variants", nargs="+", choices=known, help=f"all but {COMPILED}")
    args = parser.parse_args()
    if args.variants is None:
        left_out = (COMPILED,) if args.device == "cuda" else (COMPILED, TRITON)
        args.variants = [name for name in known if name not in left_out]
    if args.quick:
        args.tokens, args.classes, args.repeats = [512], [4000], 2
    torch.set_num_threads(args.threads)
    for classes, tokens in product(args.classes, args.tokens):
        case = Case(tokens, classes, args.width, args.dtype, args.device)
        print(f"\nN = {tokens} target tokens, V = {classes}, {args.repeats} rounds\n")
        rows = measure(case, args.variants, args.repeats)
        print(table(rows, [BUILTIN, DOUBLED, FLOOR]), flush=True)
        append(args.csv, rows)


if __name__ == "__main__":
    main()
