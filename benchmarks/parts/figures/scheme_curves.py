"""Draws BLEU and perplexity of a translator: a curve for each scheme, over the sparsity."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports import frame

GREY = "#8a8a8a"
COLORS = {"class_blind": "#1f6fb4", "class_uniform": "#e07b12", "class_distribution": "#2a9d8f"}
STYLES = {False: "--", True: "-"}  # without retraining, with retraining


def draw(title: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the BLEU and the perplexity of every scheme, without retraining and with it.

    Args:
        title: above the figure.
        rows: of the study, with `scheme`, `sparsity`, `retrained`, `bleu` and `perplexity`; those
            of the scheme "dense" are where every curve begins.

    Example:
        >>> draw("English to German, Multi30k", study.rows).savefig("curves.png")
    """
    figure = frame.new_figure(9.6, 4.3)
    left, right = figure.subplots(1, 2)
    _curves(left, rows, "bleu")
    _curves(right, rows, "perplexity")
    frame.label_axes(left, frame.SPARSITY, "test BLEU")
    left.set_ylim(bottom=0)
    frame.label_axes(right, frame.SPARSITY, "test perplexity of a word")
    right.set_yscale("log")
    frame.mark_1_2_5(right.yaxis)
    right.yaxis.set_minor_locator(ticker.NullLocator())
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def _curves(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """One panel: a curve for each scheme and style, from the dense model on."""
    dense = {row["retrained"]: row[name] for row in rows if row["scheme"] == "dense"}
    axes.axhline(dense[False], color=GREY, linewidth=1.2, zorder=1.5)
    for scheme, color in COLORS.items():
        for retrained, style in STYLES.items():
            found = {
                row["sparsity"]: row[name]
                for row in rows
                if (row["scheme"], row["retrained"]) == (scheme, retrained)
            }
            points = sorted({0.0: dense[retrained], **found}.items())
            axes.plot(
                [100 * sparsity for sparsity, _ in points],
                [value for _, value in points],
                style,
                marker="o",
                markersize=3.5,
                color=color,
                linewidth=1.6,
            )
    axes.set_xticks([100 * each for each in sorted({row["sparsity"] for row in rows})])
    axes.set_axisbelow(True)


def _handles() -> list[Line2D]:
    """The legend: colours for schemes, styles for retraining, grey for the dense model."""
    schemes = [
        Line2D([], [], color=color, marker="o", markersize=3.5, label=scheme.replace("_", "-"))
        for scheme, color in COLORS.items()
    ]
    styles = [
        Line2D(
            [],
            [],
            color="#444444",
            linestyle=style,
            label=f"{'with' if after else 'without'} retraining",
        )
        for after, style in STYLES.items()
    ]
    return [*schemes, *styles, Line2D([], [], color=GREY, linewidth=1.2, label="dense")]
