"""The pictures of an ablation study: BLEU against alpha and computing, gains, some curves."""

import re
from itertools import cycle
from statistics import mean, stdev

from rdrop_fairseq.options import REG_ALPHA
from rdrop_tools.ablations.plan import NOTHING, PLAIN, RDROP, baselines, computing
from rdrop_tools.ablations.results import gains_of
from rdrop_tools.ablations.validations import mean_curve
from rdrop_tools.plotting import COLOURS, STYLE, pyplot, save

ALPHA = re.compile(rf"{REG_ALPHA.flag} (\S+)")
CURVES = ("alpha", "schedule")
"""The groups whose best row is drawn next to plain training."""
VALIDATION = {"loss": "validation loss (bits per token)", "bleu": "validation BLEU"}
ACROSS = (("update", "updates", 1), ("seconds", "minutes of training", 60))
COMPUTING = {
    PLAIN: "plain",
    "plain-dropout-0.2": "plain, dropout 0.2",
    "plain-batch": "plain, twice the batch",
    RDROP: "R-Drop",
    "rdrop-dropout-0.2": "R-Drop, dropout 0.2",
}
"""The rows that are drawn with those that differ in nothing but their updates."""


def draw_all(plan, results, validations, folder):
    """Draw what there are results for, into the folder; return the paths of the pictures."""
    corpora = list(dict.fromkeys(row["corpus"] for row in results))
    by_corpus = {name: [row for row in results if row["corpus"] == name] for name in corpora}
    with pyplot().rc_context(STYLE):
        figures = {
            "alpha": against_alpha(by_corpus),
            "computing": against_computing(plan, by_corpus),
            "pairs": against_pairs(by_corpus),
        }
        for corpus in corpora:
            names = curves_of(plan, corpus, by_corpus[corpus])
            curves = {name: mean_curve(corpus, name, validations) for name in names}
            figures[f"curves-{corpus}"] = against_updates_and_time(curves)
    paths = {folder / f"{name}.png": figure for name, figure in figures.items() if figure}
    for path, figure in paths.items():
        save(figure, path, dpi=120)
        pyplot().close(figure)
    return list(paths)


def curves_of(plan, corpus, results):
    """Return the rows to draw: the best of the groups in CURVES, and what they compare with.

    A row with a training before it has the validations of its end alone, so it is not drawn.
    """
    whole = {row.name for row in plan.rows if row.before == NOTHING}
    results = [result for result in results if result["row"] in whole]
    best = [row for row in (best_row(results, group) for group in CURVES) if row]
    compared = [
        name
        for row in plan.rows
        if row.name in best
        for name in baselines(plan, row, corpus).values()
    ]
    return list(dict.fromkeys((PLAIN, *compared, *best)))


def best_row(results, group):
    """Return the row of a group with the best mean validation BLEU; None where there is none."""
    scores = {}
    for result in results:
        if result["group"] == group:
            scores.setdefault(result["row"], []).append(float(result["valid_bleu"]))
    return max(scores, key=lambda row: mean(scores[row]), default=None)


def against_updates_and_time(curves):
    """Return a figure of validation loss and BLEU, {name: curve of `mean_curve`}.

    None of fewer than two curves.
    """
    curves = {name: points for name, points in curves.items() if points}
    if len(curves) < 2:
        return None
    figure, grid = pyplot().subplots(2, 2, figsize=(10, 8.4), layout="constrained")
    for axes, (place, unit, divisor) in zip(grid, ACROSS):
        for axis, (quantity, title) in zip(axes, VALIDATION.items()):
            for (name, points), colour in zip(curves.items(), cycle(COLOURS)):
                x, y = zip(*((point[place] / divisor, point[quantity]) for point in points))
                axis.plot(x, y, marker="o", markersize=3.5, color=colour, label=name)
            axis.set(xlabel=unit, ylabel=title, xlim=(0, None))
            axis.legend()
        best = max(point["bleu"] for points in curves.values() for point in points)
        axes[-1].set_ylim(bottom=best / 2)  # the first validations are far below
    return figure


def against_alpha(by_corpus):
    """Return a figure of test BLEU against alpha, with plain as a band; None without results."""
    curves = {corpus: alphas(results) for corpus, results in by_corpus.items()}
    curves = {corpus: points for corpus, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    figure, axis = _axis("alpha", "test BLEU")
    _log_scale(axis, curves)
    for (corpus, points), colour in zip(curves.items(), cycle(COLOURS)):
        _draw_points(axis, points, f"R-Drop, {corpus}", colour)
        plain = [float(row["test_bleu"]) for row in by_corpus[corpus] if row["row"] == PLAIN]
        if plain:
            axis.axhline(mean(plain), color=colour, linestyle="--", label=f"plain, {corpus}")
            axis.axhspan(
                mean(plain) - spread(plain), mean(plain) + spread(plain), color=colour, alpha=0.15
            )
    axis.legend()
    return figure


def alphas(results):
    """Return {alpha: [test BLEU of each seed]} of the group alpha."""
    points = {}
    for row in results:
        if row["group"] == "alpha":
            given = ALPHA.search(row["settings"])
            alpha = float(given[1]) if given else REG_ALPHA.default
            points.setdefault(alpha, []).append(float(row["test_bleu"]))
    return points


def against_computing(plan, by_corpus):
    """Return a figure of test BLEU against computing, a curve for each of COMPUTING.

    It has an axis for each corpus where one of them was trained with more than one computing. None
    without such a corpus.
    """
    cost = {row.name: computing(plan, row) for row in plan.rows}
    by_corpus = {corpus: _by_computing(results, cost) for corpus, results in by_corpus.items()}
    by_corpus = {
        corpus: curves
        for corpus, curves in by_corpus.items()
        if max(map(len, curves.values()), default=0) > 1
    }
    if not by_corpus:
        return None
    across = f"computing, in plain trainings of {plan.updates:,} updates"
    figure, axes = _axes(across, "test BLEU", len(by_corpus))
    colours = dict(zip(COMPUTING.values(), COLOURS))
    for axis, (corpus, curves) in zip(axes, by_corpus.items()):
        axis.set_title(corpus)
        for label, points in curves.items():
            _draw_points(axis, points, label, colours[label])
        axis.legend()
    return figure


def _by_computing(results, cost):
    """Return {name in COMPUTING: {computing: [test BLEU of each seed]}}."""
    curves = {}
    for method, name in COMPUTING.items():
        settings = {row["settings"] for row in results if row["row"] == method}
        for row in results:
            if row["settings"] in settings:
                points = curves.setdefault(name, {})
                points.setdefault(cost[row["row"]], []).append(float(row["test_bleu"]))
    return curves


def against_pairs(by_corpus):
    """Return a figure of what R-Drop gains against the training pairs; None of one number alone."""
    curves = {}
    for corpus, results in by_corpus.items():
        gains = gains_of([row for row in results if row["row"] == RDROP], results)
        if gains:
            text, _, pairs = corpus.rpartition("-")
            curves.setdefault(text, {})[int(pairs)] = gains
    curves = {text: points for text, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    figure, axis = _axis("training pairs", "test BLEU of R-Drop minus plain")
    _log_scale(axis, curves)
    axis.axhline(0, color="#888888", linewidth=1)
    for (text, points), colour in zip(curves.items(), cycle(COLOURS)):
        _draw_points(axis, points, text, colour)
    axis.legend()
    return figure


def _axis(across, up):
    figure, (axis,) = _axes(across, up, 1)
    return figure, axis


def _axes(across, up, count):
    figure, (axes,) = pyplot().subplots(
        1, count, figsize=(6 * count, 4.2), layout="constrained", squeeze=False
    )
    for axis in axes:
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    return figure, axes


def _log_scale(axis, curves):
    """Scale the axis by the logarithm, with a tick at each place where there is a point."""
    places = sorted({place for points in curves.values() for place in points})
    axis.set_xscale("log")
    axis.set_xticks(places, [f"{place:,}".removesuffix(".0") for place in places])
    axis.minorticks_off()


def _draw_points(axis, points, label, colour):
    """Draw {x: values} as means, with the standard deviation where there are several values."""
    positions = sorted(points)
    means = [mean(points[x]) for x in positions]
    spreads = [spread(points[x]) for x in positions]
    axis.errorbar(positions, means, spreads, color=colour, label=label, marker="o", capsize=3)


def spread(values):
    """Return the standard deviation; 0 of a single value."""
    return stdev(values) if len(values) > 1 else 0
