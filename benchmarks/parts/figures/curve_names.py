"""Writes the names of curves where they end, in place of a legend."""

from collections.abc import Sequence

from matplotlib.axes import Axes

APART = 0.05  # of the height of the axes: the least distance of two names


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes the name of each curve at the right of the axes, without overlaps.

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
