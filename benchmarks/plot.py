#!/usr/bin/env python3
"""Draw time and memory of the loss head against the size of the vocabulary, from results.csv."""

import argparse
import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import NullLocator  # noqa: E402

HERE = Path(__file__).parent
PANELS = (("minimum_s", "Forward and backward (s)"), ("peak_mib", "Peak extra memory (MiB)"))
COLOURS = {  # Okabe and Ito's, told apart by colour-blind eyes too
    "fairseq's R-Drop": "#D55E00",
    "reference": "#E69F00",
    "plain, 2N rows": "#56B4E9",
    "fused from logits": "#CC79A7",
    "fused from features": "#0072B2",
}


def latest(rows: list, **wanted: str) -> dict:
    """The last row of each (variant, V) that has the wanted values."""
    chosen = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return {(row["variant"], int(row["classes"])): row for row in chosen}


def draw(points: dict, tokens: str):
    """A figure with a panel for time and one for memory."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, (field, title) in zip(axes, PANELS):
        for variant, colour in COLOURS.items():
            curve = sorted(
                (classes, float(row[field]))
                for (name, classes), row in points.items()
                if name == variant and row[field]
            )
            if curve:
                axis.plot(*zip(*curve), "o-", color=colour, label=variant)
        ticks = sorted({classes for _, classes in points})
        axis.set(xscale="log", yscale="log", title=title, xlabel="vocabulary V")
        axis.set_xticks(ticks, [f"{tick / 1000:.0f}k" for tick in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(color="#e6e6e6")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.suptitle(f"Loss head, N = {int(tokens):,} target tokens in each of two views")
    return figure


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, default=HERE / "results.csv")
    parser.add_argument("--tokens", default="4096", help="N of the rows to draw")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=HERE / "loss_head.png")
    args = parser.parse_args(argv)
    with open(args.csv, newline="") as file:
        rows = list(csv.DictReader(file))
    points = latest(
        rows, benchmark="loss_head", tokens=args.tokens, device=args.device, dtype=args.dtype
    )
    if not points:
        sys.exit(f"{parser.prog}: {args.csv} has no loss head with {args.tokens} tokens to draw")
    figure = draw(points, args.tokens)
    unfinished = args.out.with_name(f".unfinished-{args.out.name}")
    figure.savefig(unfinished, dpi=150)
    unfinished.replace(args.out)


if __name__ == "__main__":
    main()
