"""Sweeps over a layer's inputs, and compensates each error by the later inputs (SparseGPT).

With `U` the upper triangle of `H^-1 = U^T U`, the error of pruning row i,
`e = (w_i - q_i) / U_ii`, moves the rows below it by `w_j <- w_j - U_ij e`. All columns share U, so
a layer costs one factorization, `2/3 rows^3`, and `rows^2` multiplications for each column.
"""

from typing import Any

import numpy as np
from scipy.linalg import lapack

from kprune import patterns
from kprune._second_order.solvers import damping
from kprune._selection import scores, threshold
from kprune._support.typing import Array

BLOCK_ROWS = 128  # how many rows have their masks selected together


def factor(hessian: Array) -> Array:
    """Returns the upper triangle U with `U^T U = H^-1`.

    It follows from the Cholesky decomposition of H in reversed order, `J H J = L L^T`:
    `U = J L^-1 J`. The inverse itself is not formed.

    Args:
        hessian: H [rows, rows], symmetric and positive (`add_damping`), float64.

    Raises:
        ValueError: H is singular or indefinite.
    """
    lower = damping.cholesky(np.ascontiguousarray(hessian[::-1, ::-1]), overwrite=True)
    inverted, _ = lapack.dtrtri(lower, lower=1, overwrite_c=1)
    return inverted[::-1, ::-1]


def sweep(
    upper: Array,
    matrix: Array,
    keep: Array | float,
    alive: Array | None = None,
    pattern: patterns.Pattern | None = None,
) -> tuple[Array, Array, Array]:
    """Prunes a matrix [input, output] from its first row to its last.

    Use it for layers that are too wide for `exact_obs.compute_costs`. The mask is given, or is
    selected in blocks of 128 rows: in each the lowest `w_i^2 / U_ii^2` are pruned to the sparsity,
    with w as the rows above have left it.

    Args:
        upper: U, see `factor`.
        matrix: W [rows, columns].
        keep: a mask, boolean [rows, columns], or the sparsity at which to select one.
        alive: boolean [rows, columns]; false for pruned weights. Default: none is pruned.
        pattern: which weights are pruned together if a mask is selected. Default: each by itself.

    Returns:
        The scores, divided by the highest pruned one of their block; the mask; the new values. All
        are [rows, columns], the values in the precision of the matrix.

    Example:
        >>> scores, keep, values = sweep(factor(np.eye(4)), np.arange(1.0, 5)[:, None], 0.5)
        >>> values.T
        array([[0., 0., 3., 4.]])

    Reference:
        Frantar and Alistarh, SparseGPT, 2023.
    """
    rows, columns = matrix.shape
    dtype: Any = np.float32 if matrix.dtype.itemsize <= 4 else np.float64
    upper, w = upper.astype(dtype), matrix.astype(dtype)  # w is a copy that becomes the result
    alive = np.ones(matrix.shape, bool) if alive is None else alive
    mask = keep.copy() if isinstance(keep, np.ndarray) else alive.copy()
    score = np.zeros(matrix.shape, dtype)
    pattern = pattern or patterns.Unstructured()
    # The masks of N:M are selected group by group, when the sweep reaches the group.
    step = pattern.n_of_m[1] if pattern.n_of_m else BLOCK_ROWS
    size = max(1, BLOCK_ROWS // step) * step
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        errors = np.empty((stop - start, columns), dtype)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            piece = slice(first, last)
            if first > start:
                w[piece] -= upper[start:first, piece].T @ errors[: first - start]
            score[piece] = (w[piece] / np.diagonal(upper)[piece, None]) ** 2
            if not isinstance(keep, np.ndarray):
                mask[piece], highest = _select(score[piece], alive[piece], keep, pattern)
                score[piece] /= highest
            for row in range(first, last):
                value = w[row]
                value -= upper[first:row, row] @ errors[first - start : row - start]
                masked = np.where(mask[row], value, 0)
                np.subtract(value, masked, out=errors[row - start])
                errors[row - start] /= upper[row, row]
                w[row] = masked
        if stop < rows:
            w[stop:] -= upper[start:stop, stop:].T @ errors
    return score, mask, w


def _select(
    score: Array, alive: Array, sparsity: float, pattern: patterns.Pattern
) -> tuple[Array, Any]:
    """Returns the mask of some rows at a sparsity, and the highest pruned score."""
    count = round(sparsity * alive.size) - int(np.count_nonzero(~alive))
    if count <= 0:
        return alive, 1.0
    view = patterns.MatrixView(score.shape, (0,), (1,))
    pieces = pattern.piece_scores(scores.ScoredTensor(score, alive), view)
    survivors = threshold.find_threshold([pieces], count).survivors(0)
    keep = pattern.weight_mask(survivors, view) & alive
    pruned = score[alive & ~keep]
    return keep, max(pruned.max(initial=0), np.finfo(score.dtype).tiny)
