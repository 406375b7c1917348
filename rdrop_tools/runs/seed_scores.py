"""Collect the scores of trainings with several seeds in a CSV, and print their mean and spread.

`add` adds the scores in a file, a `NAME VALUE` a line, of the training that the options describe;
a second time they take the place of the first. `table` prints a Markdown table: a line for each
benchmark and method, mean and standard deviation over the seeds.
"""

import argparse
import contextlib
import csv
import fcntl
import statistics
import sys
from pathlib import Path

from rdrop_tools.atomic import atomic_file

TRAINING = ("benchmark", "method", "seed")
FIELDS = (*TRAINING, "score", "value")


def read_csv(path, fields=FIELDS):
    """Return the rows of the CSV, dictionaries of its fields; none where there is no file.

    Raises ValueError, in a sentence for the user, if it is another CSV or a value is no number.
    """
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != fields:
            raise ValueError(
                f"{path} is not a CSV of scores: its columns are not {', '.join(fields)}."
            )
        rows = []
        for row in reader:
            if "value" in fields and not is_number(row["value"]):
                raise ValueError(f"line {reader.line_num} of {path} is not a score: remove it.")
            rows.append(row)
        return rows


def is_number(text):
    """Return whether a text, or the None of a line that is too short, is a number."""
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def put_csv(path, fields, training, added):
    """Put rows into the CSV, in the place of those that are equal in the fields of `training`.

    Programs that do so at the same time wait for each other.
    """
    with _alone_with(path):
        named = {tuple(row[field] for field in training) for row in added}
        rows = [
            row
            for row in read_csv(path, fields)
            if tuple(row[field] for field in training) not in named
        ]
        with atomic_file(path) as made, open(made, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fields, lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows, *added])


@contextlib.contextmanager
def _alone_with(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.turn"), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


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


def mean_and_spread(values):
    """Return `mean ± sample standard deviation`, the mean alone for one value, nothing for none."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.2f}"
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
            print(scores_table(read_csv(args.csv)))
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
