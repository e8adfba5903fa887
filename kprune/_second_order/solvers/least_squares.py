"""Masked least squares: for any mask, the survivors that keep the outputs best."""

import numpy as np
from scipy.linalg import lapack

from kprune._second_order.solvers import damping
from kprune._support import progress, threads
from kprune._support.typing import Array


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
    rows = len(matrix)
    # Turned, so that each column lies in one piece: to pick from others costs as much as to solve.
    columns = np.ascontiguousarray(matrix.T, np.float64)
    alive = np.ascontiguousarray(keep.T)
    result = np.where(alive, columns, 0.0)
    kept = np.count_nonzero(alive, axis=1)
    todo = np.flatnonzero((kept > 0) & (kept < rows))
    dense = kept[todo] > rows / 2
    few, many = todo[~dense], todo[dense]
    if few.size:
        result[few] = _solve_subsets(hessian, alive[few], columns[few] @ hessian)
    if many.size:
        inverse = damping.invert(hessian)
        pushes = _solve_subsets(inverse, ~alive[many], columns[many])
        result[many] -= np.where(alive[many], pushes @ inverse, 0)
    return result.T


def _solve_subsets(matrix: Array, chosen: Array, targets: Array) -> Array:
    """Solves the chosen rows and columns of a positive matrix, one system for each target.

    Args:
        matrix: [rows, rows].
        chosen: boolean [systems, rows].
        targets: [systems, rows].

    Returns:
        [systems, rows], zero where nothing is chosen.
    """
    result = np.zeros(targets.shape)

    def some(places: Array) -> list[tuple[int, Array, Array]]:
        found = []
        for place in places:
            here = np.flatnonzero(chosen[place])
            found.append((place, here, _solve(matrix[np.ix_(here, here)], targets[place, here])))
        return found

    parts = np.array_split(np.arange(len(targets)), max(1, len(targets) // 16))
    with progress.show_bar("least squares in columns", len(targets)) as bar:
        for solved in threads.map_parallel(some, parts):
            for place, here, values in solved:
                result[place, here] = values
            bar.advance(len(solved))
    return result


def _solve(matrix: Array, target: Array) -> Array:
    """Solves one system; the matrix is overwritten."""
    # LAPACK wants columns contiguous, which the transpose, the same matrix, has.
    _, found, info = lapack.dposv(matrix.T, target, lower=1, overwrite_a=1)
    if info:
        raise ValueError(
            f"The Hessian of {len(target)} surviving inputs is singular; expected a positive one, "
            'which damping makes it. Write damping="auto" or damping=0.01.'
        )
    return found
