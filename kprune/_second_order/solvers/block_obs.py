"""Eliminates whole blocks of weights in greedy order (Optimal Brain Surgeon of blocks).

Taking the block B of rows out of a column costs `w_B^T (M_BB)^-1 w_B / 2`, M the inverse of the
Hessian, and changes the rest by `w <- w - M_:B (M_BB)^-1 w_B`, `M <- M - M_:B (M_BB)^-1 M_B:`. A
block of several columns costs the sum over them. As in `exact_obs`, some eliminations store their
scaled rows `U = L^-1 M_B`, `M_BB = L L^T`, and one matrix product then updates M.
"""

import numpy as np
from scipy import linalg

from kprune._second_order.solvers import damping
from kprune._support import progress, threads
from kprune._support.typing import Array

PANEL_ROWS = 128  # how many rows are eliminated between two updates of the inverse


def compute_costs(
    hessian: Array,
    matrix: Array,
    shape: tuple[int, int],
    alive: Array | None = None,
    columns: Array | None = None,
) -> Array:
    """Returns what each weight costs when blocks are eliminated in turn: its part of its block.

    Use it to score a layer that is pruned in blocks: the mean over a block is what it costs for
    each of its weights, so blocks of different size compete.

    `cost = w_B^T (M_BB)^-1 w_B / (2 |B|)`,  with w and M as the earlier eliminations left them

    Args:
        hessian: H [rows, rows], symmetric and positive (`add_damping`), float64.
        matrix: W [rows, columns].
        shape: rows and columns of a block; the last ones may be smaller.
        alive: boolean [rows, columns]; false for pruned weights, which are no part of a block.
            Default: none is pruned.
        columns: for each column its number in the whole matrix. Default: 0, 1, ...

    Returns:
        [rows, columns], float64; increasing in each column in the order of elimination.

    Raises:
        ValueError: H is singular or indefinite.

    Example:
        >>> compute_costs(np.diag([1.0, 2.0]), np.array([[3.0], [1.0]]), (2, 1)).T
        array([[2.75, 2.75]])

    Reference:
        Frantar and Alistarh, Optimal Brain Compression, 2022, section 4.
    """
    rows, number = matrix.shape
    alive = np.ones(matrix.shape, bool) if alive is None else alive
    numbers = np.arange(number) if columns is None else columns
    bands = np.split(np.arange(number), 1 + np.flatnonzero(np.diff(numbers // shape[1])))
    result = np.zeros((rows, number))
    whole = damping.invert(hessian) if shape[0] < rows else None

    def process(band: Array) -> int:
        weights = np.where(alive[:, band], matrix[:, band], 0).astype(np.float64)
        if shape[0] >= rows:  # nothing of these columns is left to move
            cost = np.einsum("rc,rc->", weights, hessian @ weights) / 2
            result[:, band] = cost / max(1, np.count_nonzero(alive[:, band]))
            return len(band)
        present: Array = np.any(alive[:, band], axis=1)
        inverse = whole if present.all() else _invert_present(hessian, present)
        order, costs = _eliminate(weights, inverse, shape[0])
        sizes = np.add.reduceat(
            np.count_nonzero(alive[:, band], axis=1), np.arange(0, rows, shape[0])
        )
        # Strictly increasing, so that ties are pruned in the order of elimination.
        costs = np.maximum.accumulate(costs / np.maximum(sizes[order], 1)) / 2
        costs *= 1 + 2 * np.finfo(float).eps * np.arange(len(costs))
        each = np.empty(len(order))
        each[order] = costs
        result[:, band] = each.repeat(shape[0])[:rows, None]
        return len(band)

    with progress.show_bar(f"elimination in blocks of {shape[0]} rows", number) as bar:
        for processed in threads.map_parallel(process, bands):
            bar.advance(processed)
    return result


def _invert_present(hessian: Array, present: Array) -> Array:
    """Returns the inverse of the Hessian of some rows; the others are coupled to nothing."""
    block = np.where(present[:, None] & present, hessian, 0)
    np.fill_diagonal(block, np.where(present, np.diagonal(hessian), 1.0))
    return damping.invert(block)


def _eliminate(weights: Array, inverse: Array | None, size: int) -> tuple[Array, Array]:
    """Returns the order in which the blocks of a band are eliminated, and twice each cost.

    Args:
        weights: [row, column]; zero where pruned.
        inverse: M [row, row]; not written.
        size: rows of a block.
    """
    assert inverse is not None
    number = -(-len(weights) // size)
    w = np.zeros((number * size, weights.shape[1]))  # the last block is padded
    w[: len(weights)] = weights
    matrix = np.eye(number * size)
    matrix[: len(weights), : len(weights)] = inverse
    left = np.arange(number)  # the blocks that are not eliminated
    order, costs = np.empty(number, np.int64), np.empty(number)
    step, panel = 0, max(1, PANEL_ROWS // size)
    while step < number:
        u = np.empty((0, len(w)))
        present = np.ones(len(left), bool)
        places = np.arange(len(w)).reshape(-1, size)
        diagonal = matrix[places[:, :, None], places[:, None]]  # M_BB of every block
        for _ in range(min(panel, len(left))):
            blocks = w.reshape(len(left), size, -1)
            cost = np.einsum("bic,bic->b", blocks, np.linalg.solve(diagonal, blocks))
            chosen = int(np.where(present, cost, np.inf).argmin())
            rows = places[chosen]
            order[step], costs[step] = left[chosen], max(cost[chosen], 0.0)
            step += 1
            own = matrix[rows] - u[:, rows].T @ u  # M_B: as the earlier steps left it
            lower = damping.cholesky(own[:, rows])
            scaled = linalg.solve_triangular(lower, own, lower=True, check_finite=False)
            w -= scaled.T @ linalg.solve_triangular(lower, w[rows], lower=True, check_finite=False)
            u = np.concatenate([u, scaled])
            of_block = scaled.reshape(size, len(left), size)
            diagonal -= np.einsum("kbi,kbj->bij", of_block, of_block)
            present[chosen] = False
            diagonal[~present], w[places[~present]] = np.eye(size), 0.0
        kept = places[present].reshape(-1)
        matrix = matrix[np.ix_(kept, kept)] - u[:, kept].T @ u[:, kept]
        w, left = w[kept], left[present]
    return order, costs
