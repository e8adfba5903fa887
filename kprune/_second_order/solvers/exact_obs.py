"""Eliminates the weights of each column in greedy order (exact Optimal Brain Surgeon).

Each elimination is `w <- w - w_p / M_pp * M_p` and `M <- M - M_p M_p^T / M_pp` with M the inverse
of the Hessian, so a column of n rows costs n^3 if M is updated step by step, and is limited by
memory bandwidth. Here, as in a blocked Cholesky decomposition, a panel of eliminations leaves M
unchanged and stores their scaled rows U: the row that a step needs is `M_p - U^T U_p`. After a
panel one matrix product updates M, and eliminated rows are removed from it. The order is the exact
greedy one. The cost is `2/3 rows^3` for each column, nearly all in matrix products.
"""

import numpy as np

from kprune._second_order.solvers import damping
from kprune._support import progress, threads
from kprune._support.typing import Array

PANEL = 128  # how many eliminations there are between two updates of the inverse
COLUMNS_PER_BATCH = 16  # how many columns one thread processes at once,
MAX_BATCH_BYTES = 1 << 28  # fewer if their inverses would take more bytes than this


def compute_costs(
    hessian: Array, matrix: Array, alive: Array | None = None, n_of_m: tuple[int, int] | None = None
) -> Array:
    """Returns what each weight costs when the weights of its column are eliminated in turn.

    Use it to score the weights of a layer: the costs of a column increase in the order of
    elimination, and those of different columns are comparable, so pruning the lowest costs follows
    one global order over all columns.

    `cost = w_p^2 / (2 M_pp)`,  with w and M as the earlier eliminations have left them

    Args:
        hessian: H [rows, rows], symmetric and positive (`add_damping`), float64.
        matrix: W [rows, columns].
        alive: boolean [rows, columns]; false for pruned weights. Default: none is pruned.
        n_of_m: `(n, m)`: of every m rows, eliminate `m - n` before any others. Default: any order.

    Returns:
        [rows, columns], float64; increasing in each column in the order of elimination.

    Raises:
        ValueError: H is singular or indefinite.

    Example:
        >>> compute_costs(np.diag([1.0, 2.0]), np.array([[3.0], [1.0]])).T
        array([[4.5, 1. ]])

    Reference:
        Frantar and Alistarh, Optimal Brain Compression, 2022. Costs that decrease along a column
        are raised to the earlier ones, which is the order of taking the cheapest weight of all
        columns first.
    """
    rows, number = matrix.shape
    inverse = damping.invert(hessian)
    result = np.zeros((rows, number))
    batch_size = max(1, min(COLUMNS_PER_BATCH, MAX_BATCH_BYTES // (8 * rows * rows)))

    def process(columns: Array) -> int:
        mask = None if alive is None or alive[:, columns].all() else alive[:, columns]
        weights = matrix[:, columns].T.astype(np.float64)
        if mask is None:
            row_of = np.repeat(np.arange(rows)[None], len(columns), 0)
            inverses = [inverse] * len(columns)
        else:
            weights, row_of, inverses = _select_alive(hessian, weights, mask)
        order, cost = _eliminate(weights, inverses, row_of, rows, n_of_m)
        # Strictly increasing, so that ties are pruned in the order of elimination.
        increasing = np.maximum.accumulate(np.maximum(cost, 0), 1) / 2
        increasing *= 1 + 2 * np.finfo(float).eps * np.arange(increasing.shape[1])
        for i, column in enumerate(columns):
            result[order[i], column] = increasing[i]
        return len(columns)

    counts = np.full(number, rows) if alive is None else np.count_nonzero(alive, axis=0)
    batches = np.split(np.argsort(counts, kind="stable"), range(batch_size, number, batch_size))
    with progress.show_bar(f"elimination in columns of {rows:,}", number) as bar:
        for processed in threads.map_parallel(process, batches):
            bar.advance(processed)
    return result


def _select_alive(hessian: Array, weights: Array, alive: Array) -> tuple[Array, Array, list[Array]]:
    """Selects the rows of each column that are alive, padded with pruned ones.

    A pruned row has no weight and is not coupled to the others, so its elimination changes nothing.

    Returns:
        Their weights [column, row], their rows in the matrix, and an inverse for each column.
    """
    size = int(np.count_nonzero(alive, axis=0).max())
    row_of = np.argsort(~alive.T, axis=1, kind="stable")[:, :size]
    selected = np.take_along_axis(alive.T, row_of, 1)
    weights = np.where(selected, np.take_along_axis(weights, row_of, 1), 0.0)
    inverses = []
    for rows, is_alive in zip(row_of, selected, strict=True):
        block = hessian.take(rows, 0).take(rows, 1)
        block[~is_alive] = block[:, ~is_alive] = 0
        np.fill_diagonal(block, np.where(is_alive, np.diagonal(block), 1.0))
        inverses.append(damping.invert(block))
    return weights, row_of, inverses


def _eliminate(
    w: Array,
    inverses: list[Array],
    row_of: Array,
    matrix_rows: int,
    n_of_m: tuple[int, int] | None,
) -> tuple[Array, Array]:
    """Returns the order in which the rows of some columns are eliminated, and twice each cost.

    Args:
        w: the weights [column, row]; overwritten.
        inverses: M [row, row] of each column; not written.
        row_of: for each row here, its row in the matrix.
        matrix_rows: how many rows the matrix has.
        n_of_m: see `compute_costs`.
    """
    number, rows = w.shape
    columns = np.arange(number)
    order, cost = np.empty((number, rows), np.int64), np.empty((number, rows))
    diagonal = np.stack([np.diagonal(inverse) for inverse in inverses])
    eliminated = np.zeros(w.shape, bool)
    groups = _Groups(row_of, matrix_rows, *n_of_m) if n_of_m else None
    for start in range(0, rows, PANEL):
        size = min(PANEL, rows - start)
        u = np.empty((number, size, w.shape[1]))  # scaled rows of M: [column, step, row]
        for step in range(size):
            saliency = w * w / diagonal
            saliency[eliminated] = np.inf
            p = (groups.exclude_full(saliency) if groups else saliency).argmin(1)
            order[:, start + step] = row_of[columns, p]
            cost[:, start + step] = saliency[columns, p]
            row = u[:, step]
            for i, inverse in enumerate(inverses):
                row[i] = inverse[p[i]]
            if step:
                row -= np.matmul(u[columns, :step, p][:, None], u[:, :step])[:, 0]
            pivot = row[columns, p]
            w -= (w[columns, p] / pivot)[:, None] * row
            row /= np.sqrt(pivot)[:, None]
            diagonal -= row * row
            eliminated[columns, p] = True
            diagonal[eliminated], w[eliminated] = 1.0, 0.0
            if groups:
                groups.remove(p)
        if start + size == rows:
            break
        left = np.nonzero(~eliminated)[1].reshape(number, -1)
        inverses = [
            _update_inverse(*of_column) for of_column in zip(inverses, u, left, strict=True)
        ]
        w, diagonal, row_of = (np.take_along_axis(a, left, 1) for a in (w, diagonal, row_of))
        eliminated = np.zeros(w.shape, bool)
        if groups:
            groups.select(left)
    return order, cost


def _update_inverse(inverse: Array, u: Array, left: Array) -> Array:
    """Returns the inverse after a panel, without the rows that were eliminated in it."""
    result = inverse.take(left, 0).take(left, 1)
    u = u.take(left, 1)
    result -= u.T @ u
    return result


class _Groups:
    """Counts the rows of each group of m, of which m - n are eliminated before any others."""

    def __init__(self, row_of: Array, matrix_rows: int, n: int, m: int) -> None:
        self.group, number = row_of // m, -(-matrix_rows // m)
        sizes = np.minimum(m, matrix_rows - m * np.arange(number))
        self.kept = -(-n * sizes // m)  # in proportion, in a smaller last group
        self.present = np.stack([np.bincount(row, minlength=number) for row in self.group])
        self.columns = np.arange(len(row_of))

    def exclude_full(self, saliency: Array) -> Array:
        """Returns the saliencies, infinite in groups that may lose no more, if others may."""
        full = np.take_along_axis(self.present, self.group, 1) <= self.kept[self.group]
        result = np.where(full, np.inf, saliency)
        all_full = np.isinf(result.min(1))
        result[all_full] = saliency[all_full]
        return result

    def remove(self, p: Array) -> None:
        """Counts one row less for each column."""
        self.present[self.columns, self.group[self.columns, p]] -= 1

    def select(self, left: Array) -> None:
        """Drops the rows that were eliminated."""
        self.group = np.take_along_axis(self.group, left, 1)
