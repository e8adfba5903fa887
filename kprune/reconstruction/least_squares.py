"""Masked least squares: for any mask, the survivors that keep the outputs best."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import lapack

from kprune import progress, threads
from kprune.reconstruction import damping

Array = np.ndarray[Any, Any]


def solve(hessian: Array, matrix: Array, keep: Array) -> Array:
    """Returns the survivors of a mask that minimise the layer's squared error.

    Use it after any choice of a mask: the result is never worse than leaving the survivors as they
    are, nor than any other values under this mask. For each column w with survivors S,

    `v_S = H_SS^-1 (H w)_S`,  or the same from the fallen Q,  `v = w - M_{:Q} M_QQ^-1 w_Q`,
    `M = H^-1`,

    whichever set is smaller. The cost is `min(|S|, |Q|)^3 / 3` for each column.

    Args:
        hessian: H [rows, rows], symmetric and positive (`damped`), as float64.
        matrix: W [rows, columns].
        keep: boolean, true where a weight survives.

    Returns:
        The matrix as float64, exactly zero where nothing survives.

    Raises:
        ValueError: H is singular or indefinite.

    Example:
        >>> x = np.array([[1.0, 1.0], [0.0, 1.0]])
        >>> solve(x.T @ x, np.array([[1.0], [1.0]]), np.array([[False], [True]])).T
        array([[0. , 1.5]])
    """
    rows, number = matrix.shape
    original = matrix.astype(np.float64)
    result = np.where(keep, original, 0.0)
    kept = np.count_nonzero(keep, axis=0)
    todo = np.flatnonzero((kept > 0) & (kept < rows))
    dense = kept[todo] > rows / 2
    sparse_ones, dense_ones = todo[~dense], todo[dense]
    if sparse_ones.size:
        target = np.zeros_like(original)
        target[:, sparse_ones] = hessian @ original[:, sparse_ones]

        def from_survivors(column: int) -> None:
            here = np.flatnonzero(keep[:, column])
            result[here, column] = _solve(hessian, here, target[here, column])

        _each(from_survivors, sparse_ones)
    if dense_ones.size:
        inverse = damping.inverse(hessian)

        def from_fallen(column: int) -> None:
            gone = np.flatnonzero(~keep[:, column])
            push = _solve(inverse, gone, original[gone, column])
            result[:, column] = original[:, column] - push @ inverse[gone]
            result[gone, column] = 0

        _each(from_fallen, dense_ones)
    return result


def _solve(matrix: Array, here: Array, target: Array) -> Array:
    """Solves the rows and columns `here` of a positive matrix for a target."""
    _, found, info = lapack.dposv(matrix.take(here, 0).take(here, 1), target, lower=1)
    if info:
        raise ValueError(
            f"The Hessian of {len(here)} surviving inputs is singular; expected a positive one, "
            'which damping makes it. Write damping="auto" or damping=0.01.'
        )
    return found


def _each(solve: Callable[[int], None], columns: Array) -> None:
    """Solves some columns, a handful in each turn of a thread."""

    def some(part: Array) -> int:
        for column in part:
            solve(column)
        return len(part)

    parts = np.array_split(columns, max(1, len(columns) // 16))
    with progress.bar("least squares in columns", len(columns)) as bar:
        for done in threads.side_by_side(some, parts):
            bar.advance(done)
