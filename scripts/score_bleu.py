#!/usr/bin/env python3
"""Score a system's output against a reference: sacreBLEU, with its signature, and chrF."""

import argparse
import re
import sys
from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF

GENERATE_LINE = re.compile(r"[SHDT]-\d+\t")
HYPOTHESIS_LINE = re.compile(r"D-(\d+)\t[^\t]*\t(.*)")


class ScoringError(Exception):
    """Why there is no score to give, in a sentence for the user."""


def read_lines(path):
    """Return the lines of a text file, without their ends."""
    with open(path, encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def read_system(path, count):
    """Return the `count` hypotheses, in order, of a plain text file or a fairseq-generate log.

    A log's hypotheses are its `D-` lines, in any order; of an n-best list the first one counts.

    Raises:
        ScoringError: there are not exactly `count` of them. A score over a part of a test set
            would be no score at all.
    """
    lines = read_lines(path)
    if not any(map(GENERATE_LINE.match, lines)):
        if len(lines) != count:
            raise ScoringError(f"{path} has {len(lines)} lines and the reference has {count}.")
        return lines
    hypotheses = {}
    for match in filter(None, map(HYPOTHESIS_LINE.fullmatch, lines)):
        hypotheses.setdefault(int(match[1]), match[2])
    missing = [number for number in range(count) if number not in hypotheses]
    if missing:
        raise ScoringError(
            f"{path} lacks {len(missing)} of the reference's {count} sentences, "
            f"the first of them number {missing[0]}: was the generation cut short?"
        )
    if len(hypotheses) > count:
        raise ScoringError(
            f"{path} has {len(hypotheses)} sentences and the reference {count}: "
            "they belong to different test sets."
        )
    return [hypotheses[number] for number in range(count)]


def metrics(tokenize=None):
    """Return sacrebleu's BLEU and chrF; `tokenize` is one of BLEU's tokenizers (default 13a)."""
    return {"BLEU": BLEU(tokenize=tokenize), "chrF2": CHRF()}


def add_scoring_arguments(parser):
    """Add what every scoring program needs to know: the reference and BLEU's tokenizer."""
    parser.add_argument("--ref", type=Path, required=True, help="the reference, plain text")
    parser.add_argument(
        "--tokenize",
        choices=BLEU.TOKENIZERS,
        metavar="NAME",
        help="sacrebleu's tokenizer (13a; zh for Chinese, char for Japanese or Korean)",
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sys", type=Path, required=True, help="plain text, or the log of fairseq-generate"
    )
    add_scoring_arguments(parser)
    args = parser.parse_args(argv)
    try:
        references = read_lines(args.ref)
        hypotheses = read_system(args.sys, len(references))
    except (ScoringError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for metric in metrics(args.tokenize).values():
        score = metric.corpus_score(hypotheses, [references])
        print(score.format(signature=metric.get_signature().format()))


if __name__ == "__main__":
    main()
