"""Makes the figures of programs and benchmarks look alike: size, grid, title, axes, PNG."""

import os

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kprune._support import files

DENSE = "#444444"  # the color of a model that is not pruned
GRID = "#eeeeee"
SPARSITY = "sparsity: weights that are zero (%)"  # the label of most horizontal axes


def new_figure(width: float = 7.2, height: float = 4.4) -> Figure:
    """Returns an empty figure that needs no display.

    Args:
        width: in inches, of 150 pixels.
        height: in inches.
    """
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label_axes(axes: Axes, x: str, y: str, title: str | None = None) -> None:
    """Labels axes, draws the grid, and removes the lines at the top and at the right.

    Args:
        axes: with all curves in place, for a logarithmic scale has ticks of its own.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        title: above the axes, at the left.
    """
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title is not None:
        axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", color=GRID)
    axes.spines[["top", "right"]].set_visible(False)


def mark_1_2_5(axis: Axis) -> None:
    """Puts plain numbers at 1, 2 and 5 times each power of ten of a logarithmic axis."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")
