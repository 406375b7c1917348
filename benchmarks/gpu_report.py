#!/usr/bin/env python3
"""Write the tables of what benchmarks/gpu.sh measured into the README's section "On a GPU".

They are of the card that was measured last.
"""

import argparse
import csv
import re
from pathlib import Path

from benchmarks.measure import table
from rdrop_tools.atomic import atomic_file

HERE = Path(__file__).parent
SECTION = re.compile(r"(?<=<!-- gpu: begin -->\n).*?(?=<!-- gpu: end -->)", re.DOTALL)
UPDATES = re.compile(r'"train_num_updates": "(\d+)"')
BASES = {
    "loss_head": ["fairseq's R-Drop", "plain, 2N rows", "three matrix products"],
    "train_step": ["fairseq's R-Drop", "plain, doubled batch", "plain"],
}
SIZES = ("model", "tokens", "classes", "width", "dtype")


def groups(rows: list) -> dict:
    """The last row of each variant, by benchmark and sizes."""
    found = {}
    for row in rows:
        sizes = tuple(row[name] for name in SIZES)
        key = row["benchmark"], *(sizes if row["benchmark"] in BASES else ("",) * len(SIZES))
        found.setdefault(key, {})[row["variant"], row["model"]] = row
    return {key: list(variants.values()) for key, variants in found.items()}


def timed(rows: list, benchmark: str) -> str:
    """The table of one case."""
    numbers = [
        {
            **row,
            **{f"{name}_s": float(row[f"{name}_s"]) for name in ("minimum", "median", "maximum")},
        }
        for row in rows
    ]
    sizes = {name: rows[0][name] for name in SIZES if rows[0][name]}
    title = ", ".join(f"{name} {value}" for name, value in sizes.items())
    return f"{benchmark}: {title}\n\n{table(numbers, BASES[benchmark])}\n"


def fitting(rows: list) -> str:
    """How many tokens fit."""
    lines = [f"| {r['model']} | {r['variant']} | {r['peak_mib']} | {r['tokens']} |" for r in rows]
    head = "| model | variant | MiB | target tokens that fit |\n| --- | --- | ---: | ---: |"
    return "\n".join([f"largest_batch: {rows[0]['dtype']}\n", head, *lines, ""])


def scores(logs: Path) -> str:
    """What evaluate.sh printed for each training of Multi30k, and how far that came."""
    lines = []
    for log in sorted(logs.glob("multi30k*-score.log")):
        name = log.stem.removesuffix("-score")
        found = [line.strip() for line in log.read_text().splitlines() if "BLEU" in line]
        lines += [f"- `{name}`{length_of(logs / f'{name}.log')}: {line}" for line in found]
    return "\n".join(lines)


def length_of(log: Path) -> str:
    """How many updates a training made, and whether its time ended it."""
    text = log.read_text() if log.exists() else ""
    updates = UPDATES.findall(text)
    if not updates:
        return ""
    ended = ", ended by its time limit" if "due to cumulative training time" in text else ""
    return f" ({updates[-1]} updates{ended})"


def report(rows: list, logs: Path) -> str:
    """The section's text."""
    newest = rows[-1]  # of each case the newest row is shown, too
    parts = [f"{newest['gpu'] or newest['cpu']}, PyTorch {newest['torch']}\n"]
    for (benchmark, *_), of_case in groups(rows).items():
        parts.append(timed(of_case, benchmark) if benchmark in BASES else fitting(of_case))
    return "\n".join([*parts, scores(logs)]) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, default=HERE / "results.csv")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--logs", type=Path, required=True, help="folder of gpu.sh's logs")
    parser.add_argument("--readme", type=Path, default=HERE / "README.md")
    args = parser.parse_args(argv)
    rows = []
    if args.csv.exists():
        with open(args.csv, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["device"] == args.device]
            rows = [row for row in rows if row["gpu"] == rows[-1]["gpu"]]
    if not rows:
        parser.error(f"{args.csv} has no rows of {args.device}: the logs in {args.logs} say why")
    text = args.readme.read_text(encoding="utf-8")
    if not SECTION.search(text):
        parser.error(f"{args.readme} has no section between '<!-- gpu: begin -->' and its end")
    with atomic_file(args.readme) as file:
        Path(file).write_text(SECTION.sub(lambda _: report(rows, args.logs), text), "utf-8")


if __name__ == "__main__":
    main()
