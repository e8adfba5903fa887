"""Damps Hessians so that they can be inverted, and chooses the damping."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import lapack

from kprune._support import progress
from kprune._support.typing import Array

CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # tried by "auto"; relative to the diagonal's mean
DEFAULT = 1e-2  # taken by "auto" if no samples can be held out


def add_damping(hessian: Array, damping: float) -> Array:
    """Returns `H + damping * mean(diag H) * I`, with a zero on the diagonal replaced by at least 1.

    An input that is always zero has a zero on the diagonal, and its weights cost nothing.

    Args:
        hessian: [rows, rows], symmetric and positive semidefinite.
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
    """Returns the objective `tr((V - W)^T H (V - W)) / 2` of a matrix V that replaces W."""
    change = after.astype(np.float64) - before
    return float(np.einsum("rc,rc->", change, hessian @ change)) / 2


def choose(measure: Callable[[float], float], candidates: Sequence[float] = CANDIDATES) -> float:
    """Returns the damping of the lowest error; of equal errors the larger damping.

    Args:
        measure: a function from a damping to an error on held-out samples. It may raise ValueError
            if the Hessian is still singular, and that damping is not taken.
        candidates: dampings to try.

    Raises:
        ValueError: no damping gave a finite error.
    """

    def measure_or_infinity(damping: float) -> float:
        try:
            return measure(damping)
        except ValueError:
            return np.inf

    errors = [
        measure_or_infinity(candidate)
        for candidate in progress.track(candidates, "trying dampings")
    ]
    finite = [(e, -d) for e, d in zip(errors, candidates, strict=True) if np.isfinite(e)]
    if not finite:
        raise ValueError(
            f"No damping of {list(candidates)} gave finite numbers on held-out samples; expected "
            "one that does. Check the model's weights and the data with numpy.isfinite."
        )
    return -min(finite)[1]


def cholesky(matrix: Array, overwrite: bool = False) -> Array:
    """Returns the lower triangle L with `L L^T` equal to a symmetric positive matrix.

    Args:
        matrix: [rows, rows]; it is copied unless its rows are contiguous.
        overwrite: whether it may be overwritten by L.

    Raises:
        ValueError: the matrix is singular or indefinite.
    """
    # LAPACK needs contiguous columns, which the transpose, the same matrix, has.
    factor, info = lapack.dpotrf(matrix.T, lower=1, overwrite_a=overwrite)
    if info:
        raise ValueError(
            f"The Hessian of {len(matrix)} inputs is singular or indefinite; expected a positive "
            'one, for which damping is needed. Write damping="auto" or damping=0.01.'
        )
    return factor


def invert(matrix: Array) -> Array:
    """Returns the inverse of a symmetric positive matrix.

    Raises:
        ValueError: the matrix is singular or indefinite.
    """
    lower, _ = lapack.dpotri(cholesky(matrix), lower=1, overwrite_c=1)  # zero above the diagonal
    inverse: Array = lower + lower.T
    np.fill_diagonal(inverse, np.diagonal(lower))
    return inverse
