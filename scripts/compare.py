#!/usr/bin/env python3
"""Compare systems with a baseline: BLEU and chrF with sacrebleu's paired bootstrap."""

import argparse
import sys
from pathlib import Path

from sacrebleu.significance import PairedTest
from score_bleu import ScoringError, add_scoring_arguments, metrics, read_lines, read_system


def named_path(text):
    """Split `NAME=FILE` into its parts; a FILE alone is its own name."""
    name, separator, path = text.partition("=")
    return (name, Path(path)) if separator else (text, Path(text))


def compare(systems, references, tokenize=None, samples=1000):
    """Return the lines of a table of [(name, hypotheses), ...], the first being the baseline.

    Each score has its 95% confidence interval; p is the probability of a difference as large
    from the baseline by chance, from `samples` paired bootstrap resamples.
    """
    test = PairedTest(systems, metrics(tokenize), [references], "bs", n_samples=samples)
    signatures, scores = test()
    names = scores.pop("System")
    width = max(map(len, names))
    lines = [f"{'':{width}}" + "".join(f"  {metric:<28}" for metric in scores)]
    for row, name in enumerate(names):
        cells = (_cell(results[row]) for results in scores.values())
        lines.append(f"{name:{width}}" + "".join(f"  {cell:<28}" for cell in cells))
    lines += [f"{metric}: {signature}" for metric, signature in signatures.items()]
    return [line.rstrip() for line in lines]


def _cell(result):
    interval = f"{result.score:5.2f} ({result.mean:.2f} ± {result.ci:.2f})"
    return interval if result.p_value is None else f"{interval} p={result.p_value:.4f}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "systems",
        nargs="+",
        type=named_path,
        metavar="[NAME=]FILE",
        help="plain text or the log of fairseq-generate; the first one is the baseline",
    )
    add_scoring_arguments(parser)
    args = parser.parse_args(argv)
    if len(args.systems) < 2:
        parser.error("a baseline and at least one other system are needed")
    try:
        references = read_lines(args.ref)
        systems = [(name, read_system(path, len(references))) for name, path in args.systems]
    except (ScoringError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print("\n".join(compare(systems, references, args.tokenize)))


if __name__ == "__main__":
    main()
