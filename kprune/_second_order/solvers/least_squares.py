"""Solves the least squares of the survivors under a given mask."""

import numpy as np
from scipy.linalg import lapack

from kprune._second_order.solvers import damping
from kprune._support import progress, threads
from kprune._support.typing import Array


def solve(hessian: Array, matrix: Array, keep: Array) -> Array:
    """Returns the values of the survivors that minimize the layer's squared error.

    Use it after any choice of a mask: no other values under this mask have a lower error. For each
    column w with survivors S and pruned weights Q,

    `v_S = H_SS^-1 (H w)_S`,  or, equally,  `v = w - M_{:Q} M_QQ^-1 w_Q`,  `M = H^-1`,

    by the smaller of the two sets. The cost is `min(|S|, |Q|)^3 / 3` for each column.

    Args:
        hessian: H [rows, rows], symmetric and positive (`add_damping`), float64.
        matrix: W [rows, columns].
        keep: the mask, boolean [rows, columns]; true for survivors.

    Returns:
        The matrix as float64, exactly zero where the mask is false.

    Raises:
        ValueError: H is singular or indefinite.

    Example:
        >>> x = np.array([[1.0, 1.0], [0.0, 1.0]])
        >>> solve(x.T @ x, np.array([[1.0], [1.0]]), np.array([[False], [True]])).T
        array([[0. , 1.5]])
    """
    rows = len(matrix)
    # Transposed, so that columns are contiguous: indexing others takes as long as solving.
    columns = np.ascontiguousarray(matrix.T, np.float64)
    alive = np.ascontiguousarray(keep.T)
    result = np.where(alive, columns, 0.0)
    kept = np.count_nonzero(alive, axis=1)
    unsolved = np.flatnonzero((kept > 0) & (kept < rows))
    is_dense = kept[unsolved] > rows / 2
    sparse, dense = unsolved[~is_dense], unsolved[is_dense]
    if sparse.size:
        result[sparse] = _solve_subsets(hessian, alive[sparse], columns[sparse] @ hessian)
    if dense.size:
        inverse = damping.invert(hessian)
        solutions = _solve_subsets(inverse, ~alive[dense], columns[dense])
        result[dense] -= np.where(alive[dense], solutions @ inverse, 0)
    return result.T


def _solve_subsets(matrix: Array, selected: Array, targets: Array) -> Array:
    """Solves one system for each target, of the selected rows and columns of a positive matrix.

    Args:
        matrix: [rows, rows].
        selected: boolean [systems, rows].
        targets: [systems, rows].

    Returns:
        [systems, rows], zero where nothing is selected.
    """
    result = np.zeros(targets.shape)

    def solve_systems(systems: Array) -> list[tuple[int, Array, Array]]:
        solutions = []
        for system in systems:
            rows = np.flatnonzero(selected[system])
            solution = _solve(matrix[np.ix_(rows, rows)], targets[system, rows])
            solutions.append((system, rows, solution))
        return solutions

    parts = np.array_split(np.arange(len(targets)), max(1, len(targets) // 16))
    with progress.show_bar("least squares in columns", len(targets)) as bar:
        for solutions in threads.map_parallel(solve_systems, parts):
            for system, rows, solution in solutions:
                result[system, rows] = solution
            bar.advance(len(solutions))
    return result


def _solve(matrix: Array, target: Array) -> Array:
    """Solves one system; the matrix is overwritten."""
    # LAPACK needs contiguous columns, which the transpose, the same matrix, has.
    _, solution, info = lapack.dposv(matrix.T, target, lower=1, overwrite_a=1)
    if info:
        raise ValueError(
            f"The Hessian of {len(target)} surviving inputs is singular; expected a positive one, "
            'for which damping is needed. Write damping="auto" or damping=0.01.'
        )
    return solution
