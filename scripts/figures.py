"""The figure of a run: what each step of pruning cost, and what retraining gave back."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from watching import Step

from kprune._support import files

DENSE, CUT, RETRAINED = "#444444", "#c44e52", "#1f6fb4"
FLOOR = 0.1  # of a percent: an error of zero has no place on a logarithmic axis


def trade_off(title: str, steps: Sequence[Step], dense: float, tested_on: str = "test") -> Figure:
    """Draws the test error over the sparsity: dense, after each cut, after retraining.

    The error is on a logarithmic axis, so that a cut that ruins the model and a difference of a
    tenth of a percent are both seen.

    Args:
        title: above the figure.
        steps: of the schedule, in order.
        dense: accuracy of the dense model, in [0, 1].
        tested_on: which images the accuracies are of.

    Example:
        >>> trade_off("LeNet", [Step(0.5, 0.9, 0.97)], 0.98).savefig("accuracy.png")
    """
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    sparsity = [100 * step.sparsity for step in steps]
    cut = [_error(step.cut) for step in steps]
    retrained = [_error(step.retrained) for step in steps]
    # The path that the model takes: up with each cut, down with the retraining after it.
    path_x = [x for each in sparsity for x in (each, each)]
    path_y = [y for pair in zip(cut, retrained, strict=True) for y in pair]
    axes.plot(path_x, path_y, color="#cccccc", linewidth=1, zorder=1)
    axes.plot(sparsity, cut, "v", color=CUT, markersize=5, label="right after the cut")
    axes.plot(
        sparsity,
        retrained,
        "o-",
        color=RETRAINED,
        markersize=5,
        label="retrained; the last, fine-tuned",
    )
    label = f"dense, {_error(dense):.2f} %"
    axes.axhline(_error(dense), color=DENSE, linestyle="--", linewidth=1, label=label)
    axes.annotate(
        f"{retrained[-1]:.2f} %\nat {sparsity[-1]:.1f} %",
        (sparsity[-1], retrained[-1]),
        xytext=(8, 0),
        textcoords="offset points",
        color=RETRAINED,
        fontsize=9,
        va="center",
    )
    axes.set_yscale("log")
    percent = ticker.FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(percent)
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.margins(x=0.2, y=0.1)
    axes.set_xlabel("sparsity: weights that are zero (%)")
    axes.set_ylabel(f"{tested_on} error (%)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, which="major", color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _error(accuracy: float) -> float:
    return max(FLOOR, 100 * (1 - accuracy))
