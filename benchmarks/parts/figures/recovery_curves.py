"""Draws the test error of retrained networks: a curve for each variant, over the sparsity."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from reports import frame

STYLES = {  # color, line and marker; one color for each way to retrain
    "L1, not retrained": ("#b8960c", "o:"),
    "L2, not retrained": ("#8a8a8a", "o:"),
    "L1, one cut": ("#b8960c", "o-"),
    "L2, one cut": ("#8a8a8a", "o-"),
    "L2, one cut, dropout kept": ("#c44e52", "s--"),
    "L2, four cuts": ("#1f6fb4", "o-"),
}


def draw(title: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the mean test errors on a logarithmic axis.

    Args:
        title: above the figure.
        rows: of the study, with `variant`, `sparsity`, `dense` and `after`, accuracies in percent.

    Example:
        >>> row = {"variant": "L2, one cut", "sparsity": 0.9, "dense": 99.2, "after": 99.1}
        >>> draw("LeNet-5", [row]).savefig("curves.png")
    """
    figure = frame.new_figure(7.6, 4.6)
    axes = figure.add_subplot()
    sparsities = sorted({row["sparsity"] for row in rows})
    places = range(len(sparsities))  # the last percents are what matters: one step each
    for name, (color, style) in STYLES.items():
        errors = [
            [100 - row["after"] for row in rows if (row["variant"], row["sparsity"]) == (name, s)]
            for s in sparsities
        ]
        if all(errors):
            means = [statistics.mean(each) for each in errors]
            axes.plot(places, means, style, color=color, markersize=4, label=name)
    dense = 100 - statistics.mean(row["dense"] for row in rows)
    axes.axhline(
        dense, color=frame.DENSE, linestyle="--", linewidth=1, label=f"dense, {dense:.2f} %"
    )
    axes.set_yscale("log")
    frame.mark_1_2_5(axes.yaxis)
    axes.set_xticks(list(places), [f"{100 * each:g}" for each in sparsities])
    frame.label_axes(axes, frame.SPARSITY, "test error (%)", title)
    axes.legend(frameon=False, fontsize=9)
    return figure
