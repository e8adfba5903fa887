"""Optimal Brain Surgeon over all weights together, from a root of the curvature.

With `H = alpha I + R^T R`, R one row for each factor of the curvature, everything that is needed of
`H^-1` comes from the small matrix `R R^T`. The rows of R are turned so that they are orthogonal,
`R R^T = diag(l)`, and then for any alpha

    (H^-1)_qq = (1 - sum_i R_iq^2 / (alpha + l_i)) / alpha
    d_S       = R_S^T (alpha I + R_S R_S^T)^-1 R_Q w_Q       the survivors, when all of Q goes

so neither H nor its inverse is ever formed. The cost is `rows^2` multiplications for each weight.
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from kprune._masking.weight import Weight
from kprune._second_order.loss_models import loss_model
from kprune._second_order.solvers import damping as dampings
from kprune._support.typing import Array

COLUMNS_PER_PIECE = 1 << 14  # columns of R that are worked on at a time
MAX_FLOAT64_BYTES = (
    1 << 30
)  # bytes up to which R is float64; beyond, it stays as the model computes it


class OrthogonalRoot:
    """A root of the curvature with orthogonal rows, for every damping that is tried.

    Args:
        weights: the weights, in the order of the columns.
        matrix: R [rows, weights], `R^T R` the curvature, zero where weights have gone;
            overwritten.
    """

    def __init__(self, weights: Sequence[Weight], matrix: Array) -> None:
        kind = np.float64 if 8 * matrix.size <= MAX_FLOAT64_BYTES else matrix.dtype
        self.weights, self.matrix = list(weights), matrix.astype(kind, copy=False)
        self.alive = loss_model.flatten(weights, Weight.alive)
        self.values = loss_model.flatten(weights, Weight.values).astype(np.float64)
        lengths, directions = np.linalg.eigh(self.multiply_by_transpose(self.alive))
        self.lengths = np.maximum(lengths, 0)
        for piece in self.pieces():
            here = piece.start + np.flatnonzero(self.alive[piece])  # the others are zero
            self.matrix[:, here] = directions.T @ self.matrix[:, here].astype(
                np.float64, copy=False
            )
        self.mean = float(self.lengths.sum()) / max(1, int(np.count_nonzero(self.alive)))

    def multiply_by_transpose(self, here: Array) -> Array:
        """Returns `R R^T` over the columns that are here."""
        inner = np.zeros((len(self.matrix), len(self.matrix)))
        for piece in self.pieces():
            columns = self.matrix[:, piece][:, here[piece]].astype(np.float64, copy=False)
            inner += columns @ columns.T
        return inner

    def pieces(self) -> list[slice]:
        """The columns, some thousand at a time: what is float64 of them is soon forgotten."""
        return [
            slice(i, i + COLUMNS_PER_PIECE)
            for i in range(0, self.matrix.shape[1], COLUMNS_PER_PIECE)
        ]


class FullLoss(loss_model.LossModel):
    """One quadratic over all weights.

    Args:
        root: of the curvature.
        damping: alpha, relative to the mean of the curvature's diagonal.
    """

    def __init__(self, root: OrthogonalRoot, damping: float) -> None:
        self.root = root
        self.alpha = damping * root.mean or float(np.finfo(np.float32).tiny)
        self._costs: dict[Weight, Array] = {}

    def compute_costs(self, weight: Weight) -> Array:
        """Returns `w_q^2 / (2 (H^-1)_qq)`."""
        if not self._costs:
            root = self.root
            left = np.empty(root.values.size)
            for piece in root.pieces():
                squares = np.square(root.matrix[:, piece], dtype=np.float64)
                left[piece] = 1 - (1 / (self.alpha + root.lengths)) @ squares
            # Rounding leaves nothing of what is smaller than a part in 10^12 of the damping.
            costs = self.alpha * root.values**2 / (2 * np.maximum(left, 1e-12))
            self._costs = dict(loss_model.unflatten(root.weights, costs))
        return self._costs[weight]

    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Moves the survivors by `R_S^T (alpha I + R_S R_S^T)^-1 R_Q w_Q`."""
        root = self.root
        survivors = np.concatenate([np.asarray(mask).reshape(-1) for mask in keep])
        push = np.zeros(len(root.matrix))
        for piece in root.pieces():
            push += root.matrix[:, piece] @ np.where(survivors[piece], 0, root.values[piece])
        inner = root.multiply_by_transpose(survivors)
        inner[np.diag_indices_from(inner)] += self.alpha
        solved = linalg.cho_solve((dampings.cholesky(inner), True), push, check_finite=False)
        moved = root.values.copy()
        for piece in root.pieces():
            moved[piece] += solved @ root.matrix[:, piece]
        return dict(loss_model.unflatten(weights, np.where(survivors, moved, 0)))
