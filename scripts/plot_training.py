#!/usr/bin/env python3
"""Draw the training curves of one or more fairseq runs, from their JSON logs, to a picture."""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from compare import named_path  # noqa: E402
from matplotlib.ticker import LogLocator, NullFormatter  # noqa: E402
from training_log import read_entries  # noqa: E402
from whole import whole_file  # noqa: E402

PANELS = (  # kind of entry, name in it, title, logarithmic axis
    # Not R-Drop's own loss, a sum over two passes that no other run could be compared with.
    ("train_inner", "nll_loss", "Training loss: NLL of one pass (bits per token)", False),
    ("train_inner", "kl_loss", "KL between two passes (bits per token)", False),
    ("valid", "ppl", "Validation perplexity", True),
)
# Okabe and Ito's colours, told apart by colour-blind eyes too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


class PlotError(Exception):
    """Why there is nothing to draw, in a sentence for the user."""


def draw(runs):
    """Return a figure of [(name, log path), ...]: loss, KL and valid perplexity by updates.

    Raises PlotError for a log without a single JSON line.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(14, 4.2), layout="constrained")
        for (name, log), colour in zip(runs, COLOURS * len(runs)):
            if not any(read_entries(log, kind) for kind in ("train_inner", "valid")):
                raise PlotError(f"{log} has no training in it: was it run with --log-format json?")
            for axis, (kind, key, _, _) in zip(axes, PANELS):
                points = [(e["num_updates"], e[key]) for e in read_entries(log, kind) if key in e]
                _draw_curve(axis, points, name, colour)
        for axis, (_, _, title, logarithmic) in zip(axes, PANELS):
            _finish(axis, title, logarithmic)
    return figure


def _draw_curve(axis, points, name, colour):
    if not points:  # plain label smoothing has no KL
        return
    marker = "o" if len(points) < 40 else None
    axis.plot(*zip(*points), color=colour, label=name, marker=marker, markersize=3.5)
    update, value = points[-1]
    text = f"{value:.3g}"
    axis.annotate(
        text, (update, value), (6, 0), textcoords="offset points", va="center", color=colour
    )


def _finish(axis, title, logarithmic):
    axis.set_title(title)
    if not axis.lines:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "not logged", transform=axis.transAxes, ha="center", color="#888888")
        return
    axis.set_xlabel("updates")
    axis.margins(x=0.12)
    axis.set_xlim(left=0)
    axis.legend(loc="best")
    if logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "logs", nargs="+", type=named_path, metavar="[NAME=]LOG", help="a --log-format json log"
    )
    parser.add_argument("--out", type=Path, required=True, help="the picture: .png or .svg")
    args = parser.parse_args(argv)
    try:
        figure = draw(args.logs)
        with whole_file(args.out) as picture:
            figure.savefig(picture, dpi=150)
    except (PlotError, OSError, ValueError) as error:  # ValueError: an unknown kind of picture
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
