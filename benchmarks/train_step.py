#!/usr/bin/env python3
"""Time and memory of whole fairseq updates: plain, on a doubled batch, both R-Drops, AD-DROP."""

from functools import partial
from typing import NamedTuple

import torch

from benchmarks.measure import append, interleaved, options, peaks, rows_of, table

# measure comes first: it silences what fairseq says when it is imported
# isort: split

from fairseq import options as fairseq_options
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.data import Dictionary, LanguagePairDataset, data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer

import rdrop_fairseq  # noqa: F401
from rdrop_fairseq.views.repeat import repeat_sample

PLAIN = ("label_smoothed_cross_entropy",)
SINGLE, DOUBLED, BUILTIN = "plain", "plain, doubled batch", "fairseq's R-Drop"
RDROP = ("rdrop_label_smoothed_cross_entropy", "--reg-alpha=5")
ADDROP = ("addrop_label_smoothed_cross_entropy", "--no-cross-tuning")
VARIANTS = {
    SINGLE: PLAIN,
    DOUBLED: PLAIN,
    BUILTIN: ("label_smoothed_cross_entropy_with_rdrop", "--rdrop-alpha=5"),
    "fused from features": RDROP,
    "reference": (*RDROP, "--rdrop-loss=reference"),
    "SimCut": ("simcut_label_smoothed_cross_entropy",),
    "AD-DROP": ADDROP,
    "AD-DROP, attention": (*ADDROP, "--addrop-attribution=attention"),
    "AD-DROP, random": (*ADDROP, "--addrop-attribution=random"),
    "AD-DROP, integrated, one layer": (
        *ADDROP,
        "--addrop-attribution=integrated",
        "--addrop-layers=0",
    ),
    "R-Drop with AD-DROP": (*RDROP, "--rdrop-second-view=addrop"),
}
PRECISION = {"float32": (), "float16": ("--fp16",), "bfloat16": ("--bf16",)}
# Mean and standard deviation of the logarithm of a sentence's length: IWSLT14 German-English, BPE.
LOG_LENGTH = (3.02, 0.63)


class Case(NamedTuple):
    """What is trained on how much."""

    model: str
    classes: int
    max_tokens: int
    dtype: str
    device: str


def configuration(case: Case, variant: str):
    """What fairseq-train makes of the arguments that the variant stands for."""
    criterion, *arguments = VARIANTS[variant]
    words = [
        *("DATA", f"--arch={case.model}", "--share-decoder-input-output-embed", "--dropout=0.3"),
        *(f"--criterion={criterion}", *arguments, "--label-smoothing=0.1"),
        *("--optimizer=adam", "--lr=1e-4", "--clip-norm=1"),
        *(PRECISION[case.dtype], ("--cpu",) if case.device == "cpu" else ()),
    ]
    flat = [word for part in words for word in ([part] if isinstance(part, str) else part)]
    parser = fairseq_options.get_training_parser()
    return convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, flat))


def vocabulary(classes: int) -> Dictionary:
    """A dictionary of exactly so many symbols."""
    symbols = Dictionary()
    for number in range(classes - len(symbols)):
        symbols.add_symbol(f"w{number}")
    return symbols


def batch(case: Case) -> dict:
    """The median batch, by its number of sentences, of a corpus with realistic lengths.

    fairseq itself sorts the sentences, cuts them into batches and collates the chosen one.
    """
    symbols = vocabulary(case.classes)
    random = torch.Generator().manual_seed(0)

    def sentence(length):
        words = torch.randint(symbols.nspecial, case.classes, (length - 1,), generator=random)
        return torch.cat([words, torch.tensor([symbols.eos()])])

    source = (torch.randn(8000, generator=random) * LOG_LENGTH[1] + LOG_LENGTH[0]).exp()
    target = source * (0.15 * torch.randn(len(source), generator=random)).exp()
    pairs = [
        [sentence(int(x)) for x in side.clamp(2, min(150, case.max_tokens))]
        for side in (source, target)
    ]
    lengths = [[len(words) for words in side] for side in pairs]
    data = LanguagePairDataset(
        *(pairs[0], lengths[0], symbols, pairs[1], lengths[1], symbols), shuffle=False
    )
    batches = data_utils.batch_by_size(
        data.ordered_indices(), data.num_tokens, max_tokens=case.max_tokens
    )
    chosen = sorted(batches, key=len)[len(batches) // 2]
    return data.collater([data[int(index)] for index in chosen])


def updates(case: Case, variants: list) -> dict:
    """A function for each variant that makes one update of one model, which all share."""
    torch.manual_seed(1)
    symbols, sample, model, functions = vocabulary(case.classes), batch(case), None, {}
    for variant in variants:
        cfg = configuration(case, variant)
        task = TranslationTask(cfg.task, symbols, symbols)
        model = model or task.build_model(cfg.model)
        trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
        given = repeat_sample(sample) if variant == DOUBLED else sample
        functions[variant] = partial(update, trainer, given)
    return functions


def update(trainer, sample):
    """Forward, backward, clipping and Adam, by fairseq's trainer."""
    fresh = {**sample, "net_input": dict(sample["net_input"])}  # the built-in R-Drop changes it
    with metrics.aggregate():
        trainer.train_step([fresh])


def one_update(case: Case, variant: str):
    """The second update, when Adam's state is there."""
    run = updates(case, [variant])[variant]
    run()
    return run


def measure(case: Case, variants: list, repeats: int, memory: bool) -> list:
    tokens = batch(case)["ntokens"]
    print(f"\n{case.model}, V = {case.classes}, {tokens} target tokens, {repeats} rounds\n")
    functions = updates(case, variants)
    interleaved(functions, 1, case.device)  # Adam's state is made in the first update
    seconds = interleaved(functions, repeats, case.device)
    del functions
    peak_of = peaks(one_update, case, variants if memory else [])
    sizes = {"model": case.model, "tokens": tokens, "classes": case.classes, "width": ""}
    return rows_of(
        seconds, peak_of, benchmark="train_step", **sizes, dtype=case.dtype, device=case.device
    )


def main():
    parser = options(__doc__, default_repeats=5)
    parser.add_argument("--model", default="transformer_iwslt_de_en", help="fairseq architecture")
    parser.add_argument("--classes", type=int, default=10152, help="size of the vocabulary")
    parser.add_argument("--max-tokens", type=int, default=4096, help="as in fairseq-train")
    parser.add_argument("--no-memory", action="store_true", help="measure time alone")
    known = [name for name, words in VARIANTS.items() if words[0] in CRITERION_REGISTRY]
    default = [name for name in known if "AD-DROP" not in name]
    parser.add_argument("--variants", nargs="+", default=default, choices=known)
    args = parser.parse_args()
    if args.quick:
        args.classes, args.max_tokens, args.repeats, args.no_memory = 4000, 256, 2, True
    torch.set_num_threads(args.threads)
    case = Case(args.model, args.classes, args.max_tokens, args.dtype, args.device)
    rows = measure(case, args.variants, args.repeats, memory=not args.no_memory)
    print(table(rows, [BUILTIN, DOUBLED, SINGLE]))
    append(args.csv, rows)


if __name__ == "__main__":
    main()
