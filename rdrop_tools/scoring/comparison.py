"""Compare systems with a baseline: scores and sacrebleu's paired significance tests.

The text is raw unless an option says that it is tokenized.
"""

import argparse
import json
import sys

from sacrebleu.significance import PairedTest

from rdrop_tools.arguments import named_path
from rdrop_tools.extras import MissingPackage
from rdrop_tools.scoring.bleu import add_scoring_arguments, read_texts, scoring
from rdrop_tools.scoring.output import ScoringError

TESTS = {"bootstrap": "bs", "randomization": "ar"}


def compare(systems, references, metrics, test="bootstrap"):
    """Compare [(name, hypotheses), ...] with the first of them, the baseline.

    Returns ({metric: signature}, {metric: [result of each system]}); a result has the score, its
    p-value (but for the baseline: the probability of a difference as large by chance) and, of the
    bootstrap, the mean and half the width of the 95% confidence interval.
    """
    paired = PairedTest(systems, metrics, [references], TESTS[test])
    signatures, results = paired()
    results.pop("System")
    for baseline, *others in results.values():
        for result in others:
            if result.score == baseline.score:
                result.p_value = 1.0  # sacrebleu gives equal systems its least p
    return {metric: signature.format() for metric, signature in signatures.items()}, results


def comparison_table(names, results):
    """Return the lines of a table, a row for each system."""
    columns = {metric: [_cell(result) for result in column] for metric, column in results.items()}
    rows = [("", *columns), *zip(names, *columns.values())]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    ]


def _cell(result):
    interval = "" if result.ci is None else f" ({result.mean:.2f} ± {result.ci:.2f})"
    p_value = "" if result.p_value is None else f" p={result.p_value:.4f}"
    return f"{result.score:5.2f}{interval}{p_value}"


def as_json(names, signatures, results):
    """Return the comparison as a dictionary for JSON."""
    systems = []
    for row, name in enumerate(names):
        scores = {metric: _describe(column[row]) for metric, column in results.items()}
        systems.append({"name": name, **scores})
    return {"signatures": signatures, "systems": systems}


def _describe(result):
    values = {"score": result.score, "p_value": result.p_value}
    values.update(mean=result.mean, interval=result.ci)
    return {name: float(value) for name, value in values.items() if value is not None}


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
    parser.add_argument(
        "--test",
        choices=TESTS,
        default="bootstrap",
        help="paired bootstrap resampling (default) or approximate randomization",
    )
    args = parser.parse_args(argv)
    if len(args.systems) < 2:
        parser.error("a baseline and at least one other system are needed")
    names, paths = zip(*args.systems)
    try:
        how = scoring(args, parser)
        texts, references = read_texts(paths, args.ref, how.prepare)
    except (ScoringError, MissingPackage, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    signatures, results = compare([*zip(names, texts)], references, how.metrics, args.test)
    if args.json:
        print(json.dumps(as_json(names, signatures, results), indent=2))
        return
    print("\n".join(comparison_table(names, results)))
    for metric, signature in signatures.items():
        print(f"{metric}: {signature}")
