"""Damping: what makes a Hessian of few samples safe to invert."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import lapack

from kprune._support import progress
from kprune._support.typing import Array

# Tried where damping is left to kprune: parts of the mean of the diagonal.
CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
DEFAULT = 1e-2  # where nothing can be held out


def add_damping(hessian: Array, damping: float) -> Array:
    """Returns `H + damping * mean(diag H) * I`, and ones in place of a diagonal's zeros.

    An input that is always zero has a zero on the diagonal; whatever weighs it costs nothing.

    Args:
        hessian: [rows, rows], symmetric, not negative.
        damping: relative to the mean of the diagonal, at least 0.

    Example:
        >>> add_damping(np.diag([3.0, 1.0, 0.0]), 0.75).diagonal()
        array([4., 2., 1.])
    """
    diagonal = np.diagonal(hessian)
    added = damping * diagonal.mean()
    result = hessian.copy()
    np.fill_diagonal(result, np.where(diagonal == 0, max(added, 1.0), diagonal + added))
    return result


def squared_error(hessian: Array, before: Array, after: Array) -> float:
    """Returns the objective `tr((V - W)^T H (V - W)) / 2` of a matrix V in the place of W."""
    change = after.astype(np.float64) - before
    return float(np.einsum("rc,rc->", change, hessian @ change)) / 2


def choose(trial: Callable[[float], float], candidates: Sequence[float] = CANDIDATES) -> float:
    """Returns the damping of the lowest trial; the larger of equals, and none that fails.

    Args:
        trial: from a damping to an error on what was held out.
        candidates: dampings to try.

    Raises:
        ValueError: every trial failed.
    """

    def tried(damping: float) -> float:
        try:
            return trial(damping)
        except ValueError:  # still singular
            return np.inf

    errors = [tried(candidate) for candidate in progress.track(candidates, "trying dampings")]
    known = [(e, -d) for e, d in zip(errors, candidates, strict=True) if np.isfinite(e)]
    if not known:
        raise ValueError(
            f"No damping of {list(candidates)} gave finite numbers on what was held out; expected "
            "one that does. Check the model's weights and the data with numpy.isfinite."
        )
    return -min(known)[1]


def cholesky(matrix: Array, overwrite: bool = False) -> Array:
    """Returns the lower L with `L L^T` the matrix, which is symmetric and positive.

    Args:
        matrix: [rows, rows]; rows that are contiguous save a copy.
        overwrite: let it become L.

    Raises:
        ValueError: the matrix is singular or indefinite.
    """
    # LAPACK wants columns contiguous, which the transpose, the same matrix, has.
    factor, info = lapack.dpotrf(matrix.T, lower=1, overwrite_a=overwrite)
    if info:
        raise ValueError(
            f"The Hessian of {len(matrix)} inputs is singular or indefinite; expected a positive "
            'one, which damping makes it. Write damping="auto" or damping=0.01.'
        )
    return factor


def invert(matrix: Array) -> Array:
    """Returns the inverse of a symmetric positive matrix.

    Raises:
        ValueError: the matrix is singular or indefinite.
    """
    lower, _ = lapack.dpotri(cholesky(matrix), lower=1, overwrite_c=1)  # zero above the diagonal
    whole: Array = lower + lower.T
    np.fill_diagonal(whole, np.diagonal(lower))
    return whole
