#!/usr/bin/env python3
"""Draw how time and memory of the loss head grow with V and with N, from results.csv."""

import argparse
import csv
import sys
from pathlib import Path

from rdrop_tools.extras import MissingPackage
from rdrop_tools.plotting import STYLE, pyplot, save

HERE = Path(__file__).parent
PANELS = (("minimum_s", "Forward and backward (s)"), ("peak_mib", "Peak extra memory (MiB)"))
COLOURS = {  # Okabe and Ito's, told apart by colour-blind eyes too
    "fairseq's R-Drop": "#D55E00",
    "reference": "#E69F00",
    "plain, 2N rows": "#56B4E9",
    "fused from logits": "#CC79A7",
    "fused from features": "#0072B2",
}


def latest(rows: list, along: str, **wanted: str) -> dict:
    """The last row of each (variant, value of ``along``) that has the wanted values."""
    chosen = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return {(row["variant"], int(row[along])): row for row in chosen}


def draw_panel(axis, points: dict, field: str):
    """A curve for each variant; what was not measured has no point."""
    from matplotlib.ticker import NullLocator

    for variant, colour in COLOURS.items():
        curve = sorted(
            (size, float(row[field]))
            for (name, size), row in points.items()
            if name == variant and row[field]
        )
        if curve:
            axis.plot(*zip(*curve), "o-", color=colour, label=variant)
    ticks = sorted({size for _, size in points})
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(ticks, [f"{tick / 1000:.0f}k" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")


def draw(against: dict):
    """A figure with a row of panels, time and memory, for each title of ``against``."""
    plt = pyplot()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(len(against), 2, figsize=(10, 7.5), layout="constrained")
        for row, (title, points) in zip(axes, against.items()):
            for axis, (field, unit) in zip(row, PANELS):
                draw_panel(axis, points, field)
                axis.set(title=unit, xlabel=title)
        axes[0][0].legend()
        figure.suptitle("Loss head: N target tokens in each of two views, vocabulary V")
    return figure


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, default=HERE / "results.csv")
    parser.add_argument("--tokens", default="4096", help="N where V grows")
    parser.add_argument("--classes", default="10152", help="V where N grows")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=HERE / "loss_head.png")
    args = parser.parse_args(argv)
    with open(args.csv, newline="") as file:
        rows = list(csv.DictReader(file))
    heads = {"benchmark": "loss_head", "device": args.device, "dtype": args.dtype}
    against = {
        f"V (N = {int(args.tokens):,})": latest(rows, "classes", tokens=args.tokens, **heads),
        f"N (V = {int(args.classes):,})": latest(rows, "tokens", classes=args.classes, **heads),
    }
    for title, points in against.items():
        if not points:
            sys.exit(f"{parser.prog}: {args.csv} has no loss head to draw against {title}")
    try:
        save(draw(against), args.out)
    except (MissingPackage, OSError, ValueError) as error:  # ValueError: an unknown kind of picture
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
