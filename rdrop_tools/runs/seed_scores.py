"""Collect the scores of trainings with several seeds in a CSV, and print their mean and spread.

`add` adds the scores in a file, a `NAME VALUE` a line, of the training that the options describe;
a second time they take the place of the first. `table` prints a Markdown table: a line for each
benchmark and method, mean and standard deviation over the seeds.
"""

import argparse
import statistics
import sys
from pathlib import Path

from rdrop_tools.scores_csv import is_number, put_csv, read_csv

TRAINING = ("benchmark", "method", "seed")
FIELDS = (*TRAINING, "score", "value")


def add_scores(path, training, scores):
    """Put the scores {name: text} of a training (benchmark, method, seed) into the CSV."""
    rows = [dict(zip(FIELDS, (*training, name, value))) for name, value in scores.items()]
    put_csv(path, FIELDS, TRAINING, rows)


def read_scores(path):
    """Return {name: text} of a file of scores. Raises ValueError if a line is none."""
    scores = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.rpartition(" ")
        if not name or not is_number(value):
            raise ValueError(f"{path} has a line that is not a NAME and a number: {line!r}.")
        scores[name] = value
    return scores


def scores_table(rows):
    """Return a Markdown table of mean ± standard deviation, the scores in their first order."""
    names = list(dict.fromkeys(row["score"] for row in rows))
    trainings = list(dict.fromkeys((row["benchmark"], row["method"]) for row in rows))
    lines = [["benchmark", "method", "seeds", *names], ["---", "---", *["---:"] * (1 + len(names))]]
    for benchmark, method in trainings:
        own = [row for row in rows if (row["benchmark"], row["method"]) == (benchmark, method)]
        values = [[float(row["value"]) for row in own if row["score"] == name] for name in names]
        seeds = len({row["seed"] for row in own})
        lines.append([benchmark, method, str(seeds), *map(mean_and_spread, values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_spread(values, sign=""):
    """Return `mean ± sample standard deviation`, the mean alone for one value, nothing for none.

    With sign "+" a mean above zero has one, too.
    """
    if not values:
        return ""
    mean = f"{statistics.mean(values):{sign}.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def training_field(text):
    """Split `NAME=VALUE`, of a field in TRAINING, into its parts."""
    name, separator, value = text.partition("=")
    if name not in TRAINING or not separator or not value:
        raise argparse.ArgumentTypeError(f"give {', '.join(TRAINING)} as NAME=VALUE, not '{text}'")
    return name, value


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="add the scores of a training")
    show = commands.add_parser("table", help="print the table")
    for command in (add, show):
        command.add_argument("csv", type=Path, help="the CSV")
    add.add_argument("scores", type=Path, help="a file of scores")
    add.add_argument(
        "training", nargs=3, type=training_field, metavar="NAME=VALUE", help="what it was"
    )
    args = parser.parse_args(argv)
    try:
        if args.command == "add":
            training = dict(args.training)
            if len(training) < len(TRAINING):
                add.error(f"give each of {', '.join(TRAINING)} once")
            chosen = tuple(training[field] for field in TRAINING)
            add_scores(args.csv, chosen, read_scores(args.scores))
        else:
            print(scores_table(read_csv(args.csv, FIELDS)))
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
