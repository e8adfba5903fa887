"""Formats repeated measurements: the median with quartiles, or the mean with its error."""

import statistics
from collections.abc import Sequence

import numpy as np


def format_quartiles(values: Sequence[float], digits: int = 2) -> str:
    """Returns "median [quartile, quartile]", or the only value.

    Example:
        >>> format_quartiles([1.0, 2.0, 3.0])
        '2.00 [1.50, 2.50]'
    """
    low, middle, high = np.percentile(np.asarray(values), [25, 50, 75])
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def format_mean(values: Sequence[float], digits: int = 2) -> str:
    """Returns "mean (standard error)", the only value, or "-" if there is none.

    Example:
        >>> format_mean([90.0, 92.0], 1)
        '91.0 (1.0)'
    """
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "-"
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.{digits}f} ({error:.{digits}f})"
