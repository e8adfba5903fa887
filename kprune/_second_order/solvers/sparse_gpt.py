"""SparseGPT's sweep: inputs from first to last, each error carried by the inputs still to come.

With `U` the upper triangle of `H^-1 = U^T U`, the error that row i makes when it is pruned,
`e = (w_i - q_i) / U_ii`, moves the rows below it by `w_j <- w_j - U_ij e`. All columns share U, so
a layer costs one factorisation, `2/3 rows^3`, and `rows^2` multiplications for each column.
"""

from typing import Any

import numpy as np
from scipy.linalg import lapack

from kprune import patterns
from kprune._second_order.solvers import damping
from kprune._selection import scores, threshold
from kprune._support.typing import Array

BLOCK_ROWS = 128  # rows whose masks are chosen together


def factor(hessian: Array) -> Array:
    """Returns the upper triangle U with `U^T U = H^-1`.

    From the Cholesky decomposition of H read backwards, `J H J = L L^T`: `U = J L^-1 J`. The
    inverse itself is never formed.

    Args:
        hessian: H [rows, rows], symmetric and positive (`damped`), as float64.

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

    Use it for layers too wide for `elimination.costs`. A mask is followed, or chosen in slabs of
    128 rows, in each the wanted part of the lowest `w_i^2 / U_ii^2`, as the rows above have left w.

    Args:
        upper: U, see `factor`.
        matrix: W [rows, columns].
        keep: a mask to follow, or the sparsity to choose one for.
        alive: boolean; false where a weight has gone before. Default: all are there.
        pattern: what falls as one piece, where a mask is chosen. Default: each weight.

    Returns:
        The scores, in units of the highest that falls in their slab; the mask; the new values. All
        [rows, columns], the values in the matrix's own precision.

    Example:
        >>> scores, keep, values = sweep(factor(np.eye(4)), np.arange(1.0, 5)[:, None], 0.5)
        >>> values.T
        array([[0., 0., 3., 4.]])

    Reference:
        Frantar and Alistarh, SparseGPT, 2023.
    """
    rows, columns = matrix.shape
    kind: Any = np.float32 if matrix.dtype.itemsize <= 4 else np.float64
    upper, w = upper.astype(kind), matrix.astype(kind)  # w: a copy, which becomes the result
    alive = np.ones(matrix.shape, bool) if alive is None else alive
    chosen = keep.copy() if isinstance(keep, np.ndarray) else alive.copy()
    score = np.zeros(matrix.shape, kind)
    pattern = pattern or patterns.Unstructured()
    # The masks of N:M are chosen group by group, when the group's turn comes.
    step = pattern.n_of_m[1] if pattern.n_of_m else BLOCK_ROWS
    slab = max(1, BLOCK_ROWS // step) * step
    for start in range(0, rows, slab):
        stop = min(start + slab, rows)
        errors = np.empty((stop - start, columns), kind)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            here = slice(first, last)
            if first > start:
                w[here] -= upper[start:first, here].T @ errors[: first - start]
            score[here] = (w[here] / np.diagonal(upper)[here, None]) ** 2
            if not isinstance(keep, np.ndarray):
                chosen[here], unit = _select(score[here], alive[here], keep, pattern)
                score[here] /= unit
            for row in range(first, last):
                value = w[row]
                value -= upper[first:row, row] @ errors[first - start : row - start]
                pruned = np.where(chosen[row], value, 0)
                np.subtract(value, pruned, out=errors[row - start])
                errors[row - start] /= upper[row, row]
                w[row] = pruned
        if stop < rows:
            w[stop:] -= upper[start:stop, stop:].T @ errors
    return score, chosen, w


def _select(
    score: Array, alive: Array, sparsity: float, pattern: patterns.Pattern
) -> tuple[Array, Any]:
    """The mask of some rows at a sparsity, and the highest score that falls."""
    fall = round(sparsity * alive.size) - int(np.count_nonzero(~alive))
    if fall <= 0:
        return alive, 1.0
    view = patterns.MatrixView(score.shape, (0,), (1,))
    part = pattern.piece_scores(scores.ScoredTensor(score, alive), view)
    keep = pattern.weight_mask(threshold.find_threshold([part], fall).survivors(0), view) & alive
    fallen = score[alive & ~keep]
    return keep, max(fallen.max(initial=0), np.finfo(score.dtype).tiny)
