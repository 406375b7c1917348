"""Plain cross-entropy against R-Drop on small training sets of digits, over several seeds.

    python examples/image_classification/table.py

Each training adds a row to a CSV file; those that are there already are not run again.
"""

import argparse
import sys
from itertools import product
from pathlib import Path
from statistics import mean

from digits import POOL, train, whole_number

from rdrop_tools.runs.seed_scores import mean_and_spread
from rdrop_tools.scores_csv import put_csv, read_csv

SIZES = (100, 300, POOL)
ALPHAS = (0.0, 0.3, 1.0, 3.0)  # the first is plain
SETTINGS = ("train_size", "alpha", "seed", "updates")
COLUMNS = (*SETTINGS, "valid_accuracy", "test_accuracy", "best_update", "seconds")


def read(path: Path) -> list:
    """The rows of the file, as dictionaries of numbers; none where there is no file."""
    try:
        rows = read_csv(path, COLUMNS)
    except ValueError as error:
        sys.exit(f"{error} Or name another file with --out.")
    return [{name: float(text) for name, text in row.items()} for row in rows]


def complete(path: Path, seeds: int, updates: int) -> list:
    """The rows of the whole table, after running the trainings that the file does not have."""
    done = {tuple(row[name] for name in SETTINGS) for row in read(path)}
    for settings in product(SIZES, ALPHAS, range(1, seeds + 1), [updates]):
        if settings in done:
            continue
        result = train(*settings)
        values = (*settings, result.valid, result.test, result.update, result.seconds)
        row = {name: f"{value:g}" for name, value in zip(COLUMNS, values)}
        put_csv(path, COLUMNS, SETTINGS, [row])
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return [row for row in read(path) if row["updates"] == updates and row["seed"] <= seeds]


def table(rows: list) -> str:
    """The README's table: for each size plain and R-Drop, with the alpha best in validation."""
    lines = [
        "| images to train on | plain | R-Drop | difference | alpha |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in SIZES:
        of_size = [row for row in rows if row["train_size"] == size]
        plain, *others = ([row for row in of_size if row["alpha"] == alpha] for alpha in ALPHAS)
        chosen = max(others, key=lambda rows: average(rows, "valid_accuracy"))
        difference = average(chosen, "test_accuracy") - average(plain, "test_accuracy")
        lines.append(
            f"| {size} | {accuracy(plain)} | {accuracy(chosen)} | {difference:+.2f} | "
            f"{chosen[0]['alpha']:g} |"
        )
    return "\n".join(lines)


def average(rows: list, name: str) -> float:
    return mean(row[name] for row in rows)


def accuracy(rows: list) -> str:
    """Mean and standard deviation over the seeds, in percent."""
    return mean_and_spread([row["test_accuracy"] for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    out = Path("runs/digits.csv")
    parser.add_argument(
        "--out", type=Path, default=out, metavar="FILE", help=f"the CSV file; {out}"
    )
    parser.add_argument("--seeds", type=whole_number(2, 1000), default=3, help="3")
    parser.add_argument("--updates", type=whole_number(1, 10**6), default=600, help="600")
    options = parser.parse_args()
    print(table(complete(options.out, options.seeds, options.updates)))


if __name__ == "__main__":
    main()
