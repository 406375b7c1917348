"""Draw the training curves of one or more fairseq runs, from their JSON logs, to a picture.

Loss, KL, validation perplexity and BLEU, and R-Drop's alpha and share where they change, against
updates above and against wall time below.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from rdrop_tools.arguments import named_path
from rdrop_tools.extras import MissingPackage
from rdrop_tools.plotting import COLOURS, STYLE, pyplot, save
from rdrop_tools.runs.log import read_entries, training_seconds


class Panel(NamedTuple):
    """A quantity to draw: the kind of log entry it is in, its name there, its title."""

    kind: str
    key: str
    title: str
    logarithmic: bool = False
    higher_is_better: bool = False
    is_setting: bool = False
    """Drawn where it changes in a run, or where runs differ."""


PANELS = (
    # Not R-Drop's own loss, a sum over two passes that no other run could be compared with.
    Panel("train_inner", "nll_loss", "Training loss: NLL of one pass (bits per token)"),
    Panel("train_inner", "kl_loss", "KL between two passes (bits per token)"),
    Panel("train_inner", "rdrop_alpha", "Alpha in force", is_setting=True),
    Panel("train_inner", "rdrop_share", "Share of tokens with two passes", is_setting=True),
    Panel("valid", "ppl", "Validation perplexity", logarithmic=True),
    Panel("valid", "bleu", "Validation BLEU", higher_is_better=True),
)
HOURS_FROM = 3 * 3600  # seconds; shorter trainings are shown in minutes


class PlotError(Exception):
    """Why there is nothing to draw, in a sentence for the user."""


class Curve(NamedTuple):
    """What one run says about one panel: its values at some updates."""

    panel: Panel
    name: str
    colour: str
    log: Path
    updates: list
    values: list


def read_curves(name, log, colour):
    """Return the curves in a log, of a run of that name. Raises PlotError if there are none."""
    curves = []
    for panel in PANELS:
        entries = [entry for entry in read_entries(log, panel.kind) if _has(entry, panel)]
        if entries:
            updates = [entry["num_updates"] for entry in entries]
            values = [entry[panel.key] for entry in entries]
            curves.append(Curve(panel, name, colour, log, updates, values))
    if not curves:
        raise PlotError(f"{log} has no training in it: was it run with --log-format json?")
    return curves


def _has(entry, panel):
    """Whether an entry has what a panel shows. Without a second pass the KL is logged as 0."""
    has_no_kl = panel.key == "kl_loss" and entry.get("rdrop_share") == 0
    return panel.key in entry and not has_no_kl


def draw(runs, only=()):
    """Return a figure of [(name, log path), ...], a panel for each quantity that any run logged.

    With `only`, names of quantities in the log, those alone are drawn.

    The first row is by updates. The second is by wall time, if all runs tell their speed.
    """
    coloured = zip(runs, COLOURS * len(runs))
    curves = [curve for run, colour in coloured for curve in read_curves(*run, colour)]
    wanted = [panel for panel in PANELS if panel.key in only or not only]
    panels = [panel for panel in wanted if _is_drawn(panel, curves)]
    if not panels:
        raise PlotError(f"no log has anything to draw of {', '.join(only)}.")
    rows = [("updates", 1, lambda curve: curve.updates), *_time_rows(curves)]
    plt = pyplot()
    with plt.rc_context(STYLE):
        size = (4.8 * len(panels), 4.2 * len(rows))
        figure, grid = plt.subplots(
            len(rows), len(panels), figsize=size, layout="constrained", squeeze=False
        )
        for axes, (unit, divisor, positions) in zip(grid, rows):
            for axis, panel in zip(axes, panels):
                for curve in (curve for curve in curves if curve.panel == panel):
                    _draw_curve(axis, [x / divisor for x in positions(curve)], curve)
                _finish(axis, panel, unit)
    return figure


def _is_drawn(panel, curves):
    values = {value for curve in curves if curve.panel == panel for value in curve.values}
    return len(values) > (1 if panel.is_setting else 0)


def _seconds(curve):
    return training_seconds(curve.log, curve.updates)


def _time_rows(curves):
    seconds = [_seconds(curve) for curve in curves]
    if not all(seconds):
        return []
    longest = max(of_curve[-1] for of_curve in seconds)
    unit, divisor = ("hours", 3600) if longest >= HOURS_FROM else ("minutes", 60)
    return [(f"{unit} of training", divisor, _seconds)]


def _draw_curve(axis, positions, curve):
    marker = "o" if len(positions) < 40 else None
    if curve.panel.higher_is_better:
        label = f"{curve.name}, best {max(curve.values):.1f}"
    else:
        label = f"{curve.name}, last {curve.values[-1]:.3g}"
    axis.plot(
        positions, curve.values, color=curve.colour, label=label, marker=marker, markersize=3.5
    )


def _finish(axis, panel, unit):
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_title(panel.title)
    axis.set_xlabel(unit)
    axis.set_xlim(left=0)
    axis.legend(loc="best")
    if panel.logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    elif panel.higher_is_better:  # the end, where the runs differ, rather than the beginning
        axis.set_ylim(bottom=max(line.get_ydata().max() for line in axis.lines) / 2)
    else:
        axis.set_ylim(bottom=0)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "logs", nargs="+", type=named_path, metavar="[NAME=]LOG", help="a --log-format json log"
    )
    parser.add_argument("--out", type=Path, required=True, help="the picture: .png or .svg")
    keys = [panel.key for panel in PANELS]
    parser.add_argument("--only", nargs="+", choices=keys, default=(), help="draw these alone")
    args = parser.parse_args(argv)
    try:
        save(draw(args.logs, only=args.only), args.out)
    except (PlotError, MissingPackage, OSError, ValueError) as error:
        # ValueError: an unknown kind of picture
        sys.exit(f"{parser.prog}: {error}")
