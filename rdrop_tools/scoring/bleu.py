"""Score a system's output against a reference: sacreBLEU, with its signature, and chrF.

The text is raw unless an option says that it is tokenized.
"""

import argparse
import json
import re
import sys
from typing import Callable, NamedTuple

from sacrebleu.metrics import BLEU, CHRF

from rdrop_tools.extras import MissingPackage
from rdrop_tools.scoring.detokenization import detokenizer
from rdrop_tools.scoring.output import (
    ScoringError,
    add_reference_argument,
    add_system_argument,
    read_lines,
    read_references,
    read_system,
)

INNER_HYPHEN = re.compile(rb"(\S)-(\S)")
WIDE_SPACE = re.compile(r"[^\S \t\n\r\f\v]")


class Scoring(NamedTuple):
    """What is done to each line of system and reference, and sacrebleu's metrics by name."""

    prepare: Callable[[str], str]
    metrics: dict
    multi_bleu: bool = False  # printed as multi-bleu.perl prints its score


def add_scoring_arguments(parser):
    """Add what every scoring program needs to know: the reference and how to score."""
    add_reference_argument(parser)
    parser.add_argument(
        "--tokenize",
        choices=BLEU.TOKENIZERS,
        metavar="NAME",
        help="sacrebleu's tokenizer (13a; zh for Chinese, char for Japanese or Korean)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--tokenized",
        action="store_true",
        help="both sides are tokenized: BLEU as Moses's multi-bleu.perl counts it",
    )
    kind.add_argument(
        "--compound-split",
        action="store_true",
        help="as --tokenized, after splitting words at hyphens, the custom for WMT14 En-De",
    )
    kind.add_argument(
        "--detokenize",
        metavar="LANG",
        help="both sides are tokenized as Moses does: detokenize them, then score as raw text",
    )
    parser.add_argument(
        "--lowercase", action="store_true", help="without regard to case; the signature says so"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def scoring(args, parser):
    """Return the Scoring that the arguments of :func:`add_scoring_arguments` ask for.

    Raises:
        ScoringError: a tokenizer lacks a package.
    """
    if args.tokenized or args.compound_split:
        if args.tokenize:
            parser.error("--tokenize is for text that is not tokenized yet")
        bleu = BLEU(args.lowercase, tokenize="none", smooth_method="none", force=True)
        prepare = split_compounds if args.compound_split else protect_words
        return Scoring(prepare, {"BLEU": bleu}, multi_bleu=True)
    prepare = str if args.detokenize is None else detokenizer(args.detokenize)
    try:
        bleu = BLEU(args.lowercase, tokenize=args.tokenize)
    except RuntimeError as error:  # a package that this tokenizer needs is missing
        raise ScoringError(" ".join(str(error).split())) from error
    return Scoring(prepare, {"BLEU": bleu, "chrF2": CHRF(lowercase=args.lowercase)})


def protect_words(line):
    """Replace all spaces that are not ASCII: they are parts of words for multi-bleu.perl."""
    return WIDE_SPACE.sub(lambda space: chr(0xF0000 + ord(space[0])), line)


def split_compounds(line):
    """Split words at hyphens as fairseq's compound_split_bleu.sh does, which works on bytes.

    A letter can be in one split only: `a-b-c` becomes `a ##AT##-##AT## b-c`.
    """
    split = INNER_HYPHEN.sub(rb"\1 ##AT##-##AT## \2", line.encode("utf-8"))
    return protect_words(split.decode("utf-8"))


def read_texts(paths, reference, prepare):
    """Return ([the hypotheses of each path], references), all lines prepared for scoring.

    Without a reference file the references are the `T-` lines of the fairseq-generate logs.

    Raises:
        ScoringError: a text is empty or damaged, or texts do not belong together.
    """
    references = read_lines(reference) if reference else read_references(paths)
    if not any(line.strip() for line in references):
        raise ScoringError(f"{reference or paths[0]} has references without a single word.")
    texts = [read_system(path, len(references)) for path in paths]
    *systems, references = ([*map(prepare, lines)] for lines in (*texts, references))
    return systems, references


def describe(metric, score):
    """Return a score as a dictionary for JSON."""
    described = {"score": score.score, "signature": metric.get_signature().format()}
    if isinstance(metric, BLEU):
        described.update(
            precisions=score.precisions,
            counts=score.counts,
            totals=score.totals,
            brevity_penalty=score.bp,
            hypothesis_length=score.sys_len,
            reference_length=score.ref_len,
        )
    return described


def multi_bleu(score):
    """Return a BLEU score as the line that multi-bleu.perl prints."""
    return (
        f"BLEU = {score.score:.2f}, {score.prec_str} (BP={score.bp:.3f}, "
        f"ratio={score.ratio:.3f}, hyp_len={score.sys_len}, ref_len={score.ref_len})"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_system_argument(parser)
    add_scoring_arguments(parser)
    args = parser.parse_args(argv)
    try:
        how = scoring(args, parser)
        [hypotheses], references = read_texts([args.sys], args.ref, how.prepare)
    except (ScoringError, MissingPackage, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    scores = {name: m.corpus_score(hypotheses, [references]) for name, m in how.metrics.items()}
    if args.json:
        described = {name: describe(how.metrics[name], score) for name, score in scores.items()}
        print(json.dumps({"sentences": len(references), **described}, indent=2))
    elif how.multi_bleu:
        print(multi_bleu(scores["BLEU"]))
    else:
        for name, score in scores.items():
            print(score.format(signature=how.metrics[name].get_signature().format()))
