"""Optimal Brain Surgeon in each column: the cheapest weight goes, the others move, and again.

Each elimination is `w <- w - w_p / M_pp * M_p` and `M <- M - M_p M_p^T / M_pp` with M the inverse
of the Hessian, so a column of n rows costs n^3 when M is updated step by step, and is bound by
memory. Here, as in a blocked Cholesky decomposition, a panel of eliminations leaves M as it is and
keeps their scaled rows U aside: the row that a step needs is `M_p - U^T U_p`. After a panel one
product of matrices brings M up to date, and what has been eliminated is dropped from it. The order
is the exact greedy one. The cost is `2/3 rows^3` for each column, nearly all in matrix products.
"""

import numpy as np

from kprune._second_order.solvers import damping
from kprune._support import progress, threads
from kprune._support.typing import Array

PANEL = 128  # eliminations between two updates of the inverse
COLUMNS_PER_BATCH = 16  # columns that one thread works on at once,
MAX_BATCH_BYTES = 1 << 28  # as long as their inverses take no more bytes than this


def compute_costs(
    hessian: Array, matrix: Array, alive: Array | None = None, n_of_m: tuple[int, int] | None = None
) -> Array:
    """Returns what each weight costs when the weights of its column go one after another.

    Use it to score the weights of a layer: columns keep their order of elimination, and the costs
    of different columns compare, so any cut of the lowest is one global order over the columns.

    `cost = w_p^2 / (2 M_pp)`,  with w and M as the eliminations before have left them

    Args:
        hessian: H [rows, rows], symmetric and positive (`damped`), as float64.
        matrix: W [rows, columns].
        alive: boolean; false where a weight has gone before. Default: all are there.
        n_of_m: let `m - n` of every m rows go first, and the rest after them. Default: any.

    Returns:
        [rows, columns], float64; in each column increasing in the order of elimination.

    Raises:
        ValueError: H is singular or indefinite.

    Example:
        >>> compute_costs(np.diag([1.0, 2.0]), np.array([[3.0], [1.0]])).T
        array([[4.5, 1. ]])

    Reference:
        Frantar and Alistarh, Optimal Brain Compression, 2022. Costs that fall along a column are
        raised to those before them, which is what taking the cheapest first over all columns does.
    """
    rows, number = matrix.shape
    inverse = damping.invert(hessian)
    found = np.zeros((rows, number))
    together = max(1, min(COLUMNS_PER_BATCH, MAX_BATCH_BYTES // (8 * rows * rows)))

    def eliminate(part: Array) -> int:
        here = None if alive is None or alive[:, part].all() else alive[:, part]
        weights = matrix[:, part].T.astype(np.float64)
        if here is None:
            place = np.repeat(np.arange(rows)[None], len(part), 0)
            inverses = [inverse] * len(part)
        else:
            weights, place, inverses = _select_alive(hessian, weights, here)
        order, cost = _eliminate(weights, inverses, place, rows, n_of_m)
        # Strictly increasing, so that ties are cut in the order of elimination.
        rising = np.maximum.accumulate(np.maximum(cost, 0), 1) / 2
        rising *= 1 + 2 * np.finfo(float).eps * np.arange(rising.shape[1])
        for i, column in enumerate(part):
            found[order[i], column] = rising[i]
        return len(part)

    living = np.full(number, rows) if alive is None else np.count_nonzero(alive, axis=0)
    parts = np.split(np.argsort(living, kind="stable"), range(together, number, together))
    with progress.show_bar(f"elimination in columns of {rows:,}", number) as bar:
        for done in threads.map_parallel(eliminate, parts):
            bar.advance(done)
    return found


def _select_alive(hessian: Array, weights: Array, alive: Array) -> tuple[Array, Array, list[Array]]:
    """The living rows of each column, padded with dead ones: their weights, places and inverses.

    A dead row has no weight and no part in the others' inverse, so its elimination changes nothing.
    """
    size = int(np.count_nonzero(alive, axis=0).max())
    place = np.argsort(~alive.T, axis=1, kind="stable")[:, :size]
    here = np.take_along_axis(alive.T, place, 1)
    weights = np.where(here, np.take_along_axis(weights, place, 1), 0.0)
    inverses = []
    for rows, living in zip(place, here, strict=True):
        block = hessian.take(rows, 0).take(rows, 1)
        block[~living] = block[:, ~living] = 0
        np.fill_diagonal(block, np.where(living, np.diagonal(block), 1.0))
        inverses.append(damping.invert(block))
    return weights, place, inverses


def _eliminate(
    w: Array,
    inverses: list[Array],
    place: Array,
    size_of_matrix: int,
    n_of_m: tuple[int, int] | None,
) -> tuple[Array, Array]:
    """The order in which the rows of some columns go, and twice what each costs.

    Args:
        w: the weights [column, row]; overwritten.
        inverses: M [row, row] of each column; not written.
        place: the row of the matrix that each row here is.
        size_of_matrix: how many rows that has.
        n_of_m: see `compute_costs`.
    """
    number, rows = w.shape
    each = np.arange(number)
    order, cost = np.empty((number, rows), np.int64), np.empty((number, rows))
    diagonal = np.stack([np.diagonal(inverse) for inverse in inverses])
    gone = np.zeros(w.shape, bool)
    closed = _GroupQuotas(place, size_of_matrix, *n_of_m) if n_of_m else None
    for start in range(0, rows, PANEL):
        size = min(PANEL, rows - start)
        u = np.empty(
            (number, size, w.shape[1])
        )  # the panel's rows of M, scaled: [column, step, row]
        for step in range(size):
            saliency = w * w / diagonal
            saliency[gone] = np.inf
            p = (closed.open(saliency) if closed else saliency).argmin(1)
            order[:, start + step], cost[:, start + step] = place[each, p], saliency[each, p]
            row = u[:, step]
            for i, inverse in enumerate(inverses):
                row[i] = inverse[p[i]]
            if step:
                row -= np.matmul(u[each, :step, p][:, None], u[:, :step])[:, 0]
            pivot = row[each, p]
            w -= (w[each, p] / pivot)[:, None] * row
            row /= np.sqrt(pivot)[:, None]
            diagonal -= row * row
            gone[each, p] = True
            diagonal[gone], w[gone] = 1.0, 0.0
            if closed:
                closed.close(p)
        if start + size == rows:
            break
        left = np.nonzero(~gone)[1].reshape(number, -1)
        inverses = [
            _update_inverse(*of_column) for of_column in zip(inverses, u, left, strict=True)
        ]
        w, diagonal, place = (np.take_along_axis(a, left, 1) for a in (w, diagonal, place))
        gone = np.zeros(w.shape, bool)
        if closed:
            closed.keep(left)
    return order, cost


def _update_inverse(inverse: Array, u: Array, left: Array) -> Array:
    """The inverse after a panel, without the rows that went in it."""
    result = inverse.take(left, 0).take(left, 1)
    u = u.take(left, 1)
    result -= u.T @ u
    return result


class _GroupQuotas:
    """Which rows may go where m - n of every m are to go before any other."""

    def __init__(self, place: Array, size_of_matrix: int, n: int, m: int) -> None:
        self.group, number = place // m, -(-size_of_matrix // m)
        sizes = np.minimum(m, size_of_matrix - m * np.arange(number))
        self.left = -(-n * sizes // m)  # in a last, smaller group in proportion
        self.here = np.stack([np.bincount(row, minlength=number) for row in self.group])
        self.each = np.arange(len(place))

    def open(self, saliency: Array) -> Array:
        """Returns the saliencies, infinite in full groups, as long as there are others."""
        closed = np.take_along_axis(self.here, self.group, 1) <= self.left[self.group]
        found = np.where(closed, np.inf, saliency)
        none = np.isinf(found.min(1))
        found[none] = saliency[none]
        return found

    def close(self, p: Array) -> None:
        """Notes that a row has gone in each column."""
        self.here[self.each, self.group[self.each, p]] -= 1

    def keep(self, left: Array) -> None:
        """Drops the rows that have gone."""
        self.group = np.take_along_axis(self.group, left, 1)
