"""What the programs that draw have in common: matplotlib without a screen, colours, pictures."""

from rdrop_tools.atomic import atomic_file
from rdrop_tools.extras import load

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
    "figure.constrained_layout.h_pad": 0.12,
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def pyplot():
    """Return matplotlib.pyplot, which takes a second to load, set to draw into files.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    load("matplotlib").use("Agg")
    return load("matplotlib.pyplot")


def save(figure, path, dpi=150):
    """Write a figure to a picture. Raises ValueError for an unknown kind of picture."""
    with atomic_file(path) as picture:
        figure.savefig(picture, dpi=dpi)
