"""Draws the accuracy of networks pruned at once: a curve for each method, over the sparsity."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.parts.figures import curve_names
from reports import frame

# The methods that are shown, with a name and a color for each.
SHOWN = {
    "magnitude": ("magnitude", "#8a8a8a"),
    "OBD gauss_newton": ("OBD", "#b8960c"),
    "Wanda": ("Wanda", "#8c6bb1"),
    "SparseGPT": ("SparseGPT", "#2a9d8f"),
    "magnitude + LS": ("magnitude, least squares", "#e07b12"),
    "OBS block": ("OBS, blocks", "#c44e52"),
    "ExactOBS": ("OBS, layer by layer", "#1f6fb4"),
}


def draw(title: str, rows: Sequence[Mapping[str, Any]], dense: float) -> Figure:
    """Draws the mean accuracies, each curve with its name at its end.

    Args:
        title: above the figure.
        rows: of the study, with `method`, `sparsity` and `after`, the accuracy in percent.
        dense: accuracy of the dense model, in percent.

    Example:
        >>> rows = [{"method": "Wanda", "sparsity": s, "after": 99 - 40 * s} for s in (0.5, 0.9)]
        >>> draw("ResNet-20", rows, 90.0).savefig("curves.png")
    """
    figure = frame.new_figure()
    axes = figure.add_subplot()
    sparsities = sorted({row["sparsity"] for row in rows})
    ends = []
    for method, (name, color) in SHOWN.items():
        found = [
            [row["after"] for row in rows if (row["method"], row["sparsity"]) == (method, each)]
            for each in sparsities
        ]
        if all(found):
            means = [statistics.mean(each) for each in found]
            axes.plot([100 * s for s in sparsities], means, "o-", color=color, markersize=4)
            ends.append((means[-1], name, color))
    ends_of_axis = [100 * sparsities[0], 100 * sparsities[-1]]
    axes.plot(ends_of_axis, [dense, dense], "--", color=frame.DENSE, linewidth=1)
    ends.append((dense, f"dense, {dense:.1f} %", frame.DENSE))
    curve_names.name_ends(axes, ends)
    axes.set_xticks([100 * each for each in sparsities])
    frame.label_axes(axes, frame.SPARSITY, "test accuracy (%)", title)
    return figure
