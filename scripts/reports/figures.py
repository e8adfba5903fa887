"""Draws the test error after each step of pruning, and after the retraining that follows."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from reports import frame
from training.trade_off import Step

CUT, RETRAINED = "#c44e52", "#1f6fb4"
FLOOR = 0.1  # of a percent: an error of zero has no place on a logarithmic axis


def trade_off(title: str, steps: Sequence[Step], dense: float, tested_on: str = "test") -> Figure:
    """Draws the test error over the sparsity: dense, after each cut, after retraining.

    The error is on a logarithmic axis, so that both a collapse of the model and a difference of a
    tenth of a percent can be seen.

    Args:
        title: above the figure.
        steps: of the schedule, in order.
        dense: accuracy of the dense model, in [0, 1].
        tested_on: which images the accuracies are of.

    Example:
        >>> trade_off("LeNet", [Step(0.5, 0.9, 0.97)], 0.98).savefig("accuracy.png")
    """
    figure = frame.new_figure()
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
    axes.axhline(_error(dense), color=frame.DENSE, linestyle="--", linewidth=1, label=label)
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
    frame.mark_1_2_5(axes.yaxis)
    axes.margins(x=0.2, y=0.1)
    frame.label_axes(axes, frame.SPARSITY, f"{tested_on} error (%)", title)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _error(accuracy: float) -> float:
    return max(FLOOR, 100 * (1 - accuracy))
