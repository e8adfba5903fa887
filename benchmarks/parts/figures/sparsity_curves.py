"""Draws the accuracy of pruning methods over the sparsity, with a dot for each seed."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.parts.figures import curve_names
from reports import frame

COLORS = "#8a8a8a", "#1f6fb4", "#e07b12", "#2a9d8f", "#8c6bb1"


def draw(title: str, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Figure:
    """Draws the mean over the seeds, each curve with its name at its end, and the seeds as dots.

    Args:
        title: above the figure.
        rows: of the study, with `method`, `sparsity`, `seed`, and the accuracies `dense` and
            `after` in percent.
        names: of the methods, in the order of the colours.

    Example:
        >>> rows = [{"method": "nip", "sparsity": s, "seed": 0, "dense": 90, "after": 90 - 9 * s}
        ...         for s in (0.5, 0.9)]
        >>> draw("SST-2", rows, {"nip": "gradual"}).savefig("curves.png")
    """
    figure = frame.new_figure()
    axes = figure.add_subplot()
    sparsities = sorted({100 * row["sparsity"] for row in rows})
    ends = []
    for (method, name), color in zip(names.items(), COLORS, strict=False):
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        x = sorted({row["sparsity"] for row in own})
        means = [statistics.mean(row["after"] for row in own if row["sparsity"] == s) for s in x]
        axes.plot([100 * s for s in x], means, color=color, linewidth=2)
        dots = [(100 * row["sparsity"], row["after"]) for row in own]
        axes.plot(*zip(*dots, strict=True), "o", color=color, markersize=4, alpha=0.55, mew=0)
        ends.append((means[-1], name, color))
    dense = statistics.mean({row["seed"]: row["dense"] for row in rows}.values())
    axes.axhline(dense, linestyle="--", color=frame.DENSE, linewidth=1)
    ends.append((dense, f"dense, {dense:.1f} %", frame.DENSE))
    curve_names.name_ends(axes, ends)
    axes.set_xticks(sparsities)
    frame.label_axes(
        axes,
        "sparsity: weights of the transformer layers that are zero (%)",
        "test accuracy (%)",
        title,
    )
    return figure
