"""Plain cross-entropy against R-Drop on small training sets of digits, over several seeds.

    python examples/image_classification/table.py

Each training adds a row to a CSV file; those that are there already are not run again.
"""

import argparse
import csv
import sys
from itertools import product
from pathlib import Path
from statistics import mean

from digits import POOL, train, whole_number

from rdrop_tools.atomic import atomic_file
from rdrop_tools.runs.seed_scores import mean_and_spread

SIZES = (100, 300, POOL)
ALPHAS = (0.0, 0.3, 1.0, 3.0)  # the first is plain
COLUMNS = (
    *("train_size", "alpha", "seed", "updates"),
    *("valid_accuracy", "test_accuracy", "best_update", "seconds"),
)


def read(path: Path) -> list:
    """The rows of the file, as dictionaries of numbers; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            sys.exit(f"{path} is no result of this program: name another file with --out")
        return [{name: float(text) for name, text in row.items()} for row in reader]


def write(path: Path, rows: list) -> None:
    with atomic_file(path) as made, made.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{row[name]:g}" for name in COLUMNS} for row in rows)


def complete(path: Path, seeds: int, updates: int) -> list:
    """The rows of the whole table, after running the trainings that the file does not have."""
    rows = read(path)
    done = {tuple(row[name] for name in COLUMNS[:4]) for row in rows}
    for settings in product(SIZES, ALPHAS, range(1, seeds + 1), [updates]):
        if settings in done:
            continue
        result = train(*settings)
        values = (*settings, result.valid, result.test, result.update, result.seconds)
        rows.append(dict(zip(COLUMNS, values)))
        write(path, rows)
        print(", ".join(f"{name} {value:g}" for name, value in rows[-1].items()), flush=True)
    return [row for row in rows if row["updates"] == updates and row["seed"] <= seeds]


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
