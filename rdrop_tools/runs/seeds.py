"""Print a table of results: mean and standard deviation over the seeds of each training set."""

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

COLUMNS = ("train_set", "method", "seed", "valid", "test")


def read_results(path):
    """Return {training set: {method: {seed: row}}}, in the order of the file.

    Raises ValueError, in a sentence, for a file with other columns or with a result that is no
    number.
    """
    results = defaultdict(lambda: defaultdict(dict))
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"the columns of {path} are not {','.join(COLUMNS)}.")
        for row in reader:
            try:
                scores = {name: float(row[name]) for name in ("valid", "test")}
            except (TypeError, ValueError):
                line = reader.line_num
                raise ValueError(f"line {line} of {path} is not a result: remove it.") from None
            results[row["train_set"]][row["method"]][row["seed"]] = scores
    return results


def spread(values):
    """Return "mean +- standard deviation" of a sample; of one value only that value."""
    values = list(values)
    mean = statistics.mean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def table(results):
    """Return the rows of a table in Markdown."""
    yield "| training set | method | seeds | validation | test |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for train_set, methods in results.items():
        for method, seeds in methods.items():
            valid, test = (
                spread(row[name] for row in seeds.values()) for name in ("valid", "test")
            )
            yield f"| {train_set} | {method} | {len(seeds)} | {valid} | {test} |"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("results", type=Path, help=f"a CSV with {', '.join(COLUMNS)}")
    args = parser.parse_args(argv)
    try:
        print("\n".join(table(read_results(args.results))))
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
