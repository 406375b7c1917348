"""Draw a heat map of AD-DROP's p and q from finished trainings, as in its paper, to a picture.

The runs are folders of train.sh whose names end in pP-qQ-seedN. A cell is the best validation value
of each run that is finished, the mean over the seeds.
"""

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

from rdrop_tools.extras import MissingPackage
from rdrop_tools.plotting import pyplot, save
from rdrop_tools.runs.log import read_entries

NAME = re.compile(r"p(\d\.\d+)-q(\d\.\d+)-seed\d+$")


def read_grid(folder, metric: str) -> dict:
    """``{(p, q): [the highest value of a run, ...]}`` of the finished runs in a folder.

    Raises:
        ValueError: no run of such a name is finished, or one has no such metric.
    """
    grid = defaultdict(list)
    for run in sorted(Path(folder).iterdir()):
        found = NAME.search(run.name)
        if found and (run / "finished").exists():  # which train.sh writes
            values = [e[metric] for e in read_entries(run / "train.log", "valid") if metric in e]
            if not values:
                raise ValueError(f"{run / 'train.log'} has no validation with {metric}")
            grid[float(found[1]), float(found[2])].append(max(values))
    if not grid:
        raise ValueError(
            f"{folder} has no finished run whose name ends in p0.1-q0.1-seed1 or the like"
        )
    return dict(grid)


def draw(grid: dict, metric: str):
    """Return a figure of a grid, p from left to right and q from below to above.

    It says how many seeds there are: once, or in each cell where they differ.
    """
    columns, rows = (sorted({place[side] for place in grid}) for side in (0, 1))
    mean = {place: sum(values) / len(values) for place, values in grid.items()}
    cells = [[mean.get((p, q), float("nan")) for p in columns] for q in rows]
    size = 2.2 + 0.75 * len(columns), 1.6 + 0.6 * len(rows)
    figure, axis = pyplot().subplots(figsize=size, layout="constrained")
    image = axis.imshow(cells, origin="lower", cmap="Blues", aspect="auto")
    seeds = {place: len(values) for place, values in grid.items()}
    everywhere = max(seeds.values()) if len(set(seeds.values())) == 1 else 1
    middle = (min(mean.values()) + max(mean.values())) / 2
    for (p, q), value in mean.items():
        here = f"\n({seeds[p, q]} seeds)" if seeds[p, q] > everywhere else ""
        colour = "white" if value > middle else "black"
        place = columns.index(p), rows.index(q)
        axis.text(*place, f"{value:.4g}{here}", ha="center", va="center", color=colour, size=8)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel("p, share of candidates")
    axis.set_ylabel("q, probability of a drop")
    mean_of = f", mean of {everywhere} seeds" if everywhere > 1 else ""
    figure.colorbar(image, label=f"best validation {metric}{mean_of}")
    return figure


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the runs, the --out of train.sh")
    parser.add_argument("--metric", default="accuracy", help="as in the log (default: accuracy)")
    parser.add_argument("--out", type=Path, required=True, help="the picture: .png or .svg")
    args = parser.parse_args(argv)
    try:
        figure = draw(read_grid(args.folder, args.metric), args.metric)
        save(figure, args.out)
    except (MissingPackage, OSError, ValueError) as error:
        # ValueError: an unknown kind of picture, too
        sys.exit(f"{parser.prog}: {error}")
