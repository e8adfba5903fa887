"""The figure of a study of one-shot accuracy: a curve for each method, over the sparsity."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DENSE = "#444444"
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
APART = 0.05  # of the height of the axes: how far names are apart at least


def name_ends(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes the name of each curve at the right of the axes, where it ends, none over another.

    Args:
        axes: with all curves in place.
        ends: the last value of each curve, its name and its color.
    """
    low, high = axes.get_ylim()
    place = low
    for end, name, color in sorted(ends):
        place = max(end, place + APART * (high - low))
        axes.annotate(
            name,
            (1, place),
            (8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


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
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
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
    axes.plot(ends_of_axis, [dense, dense], "--", color=DENSE, linewidth=1)
    ends.append((dense, f"dense, {dense:.1f} %", DENSE))
    name_ends(axes, ends)
    axes.set_xticks([100 * each for each in sparsities])
    axes.set_xlabel("sparsity: weights that are zero (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
