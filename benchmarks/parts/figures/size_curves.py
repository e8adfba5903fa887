"""Draws the perplexity of language models over their parameters that are not zero."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.figure import Figure

from reports import frame

PRUNED = ["#1f6fb4", "#2a9d8f", "#8c6bb1"]  # the widest first


def draw(title: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the test perplexity of dense models, and of each wider one pruned to their sizes.

    Args:
        title: above the figure.
        rows: of the study, with `width`, `size_of` (the width itself, if dense), `parameters`,
            `left`, those that are not zero, and `test`, the perplexity.

    Example:
        >>> row = {"width": 16, "size_of": 16, "parameters": 334_224, "left": 334_224, "test": 250}
        >>> draw("LSTM", [row]).savefig("sizes.png")
    """
    figure = frame.new_figure()
    axes = figure.add_subplot()
    dense = sorted((row for row in rows if row["width"] == row["size_of"]), key=_left)
    axes.plot(*_points(dense), "o-", color=frame.DENSE, markersize=6, label="dense", zorder=3)
    for row in dense:
        _name(axes, row, f"width {row['width']}", frame.DENSE, (9, 2), "left", "bottom")
    widths = sorted({row["width"] for row in rows if row["size_of"] < row["width"]}, reverse=True)
    for width, color in zip(widths, PRUNED, strict=False):
        own = sorted((row for row in rows if row["width"] == width), key=_left)
        axes.plot(*_points(own), "--", color=color, linewidth=1.5, zorder=1)
        pruned = [row for row in own if row["size_of"] < width]
        axes.plot(*_points(pruned), "s", color=color, label=f"width {width}, pruned", zorder=4)
        for row in pruned:
            sparsity = 1 - row["left"] / row["parameters"]
            _name(axes, row, f"{sparsity:.0%} zeros", color, (0, -9), "center", "top")
    axes.set_xscale("log")
    axes.set_xticks([row["left"] for row in dense])
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value / 1e6:.2f}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.16, y=0.15)
    frame.label_axes(
        axes, "parameters that are not zero (millions, logarithmic)", "test perplexity", title
    )
    axes.legend(frameon=False, loc="upper right")
    return figure


def _left(row: Mapping[str, Any]) -> int:
    return int(row["left"])


def _points(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[float]]:
    return [row["left"] for row in rows], [row["test"] for row in rows]


def _name(
    axes: Any,
    row: Mapping[str, Any],
    name: str,
    color: str,
    offset: tuple[float, float],
    across: str,
    along: str,
) -> None:
    axes.annotate(
        name,
        (row["left"], row["test"]),
        offset,
        textcoords="offset points",
        color=color,
        fontsize=9,
        ha=across,
        va=along,
    )
