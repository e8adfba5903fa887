"""Models a loss by one quadratic over all weights, from a root of the curvature.

With `H = alpha I + R^T R`, R one row for each factor of the curvature, all that is needed of `H^-1`
follows from the small matrix `R R^T`. The rows of R are rotated so that they are orthogonal,
`R R^T = diag(l)`, and then for any alpha

    (H^-1)_qq = (1 - sum_i R_iq^2 / (alpha + l_i)) / alpha
    d_S       = R_S^T (alpha I + R_S R_S^T)^-1 R_Q w_Q       for survivors S and pruned weights Q

so neither H nor its inverse is formed. The cost is `rows^2` multiplications for each weight.
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from kprune._masking.weight import Weight
from kprune._second_order.loss_models import loss_model
from kprune._second_order.solvers import damping as dampings
from kprune._support.typing import Array

COLUMNS_PER_SLICE = 1 << 14  # how many columns of R are processed at once
MAX_FLOAT64_BYTES = 1 << 30  # a larger R keeps the precision of the model


class OrthogonalRoot:
    """Holds a root of the curvature with orthogonal rows, which serves every damping.

    Args:
        weights: the weights, in the order of the columns.
        matrix: R [rows, weights], `R^T R` the curvature, zero for pruned weights; overwritten.
    """

    def __init__(self, weights: Sequence[Weight], matrix: Array) -> None:
        dtype = np.float64 if 8 * matrix.size <= MAX_FLOAT64_BYTES else matrix.dtype
        self.weights, self.matrix = list(weights), matrix.astype(dtype, copy=False)
        self.alive = loss_model.flatten(weights, Weight.alive)
        self.values = loss_model.flatten(weights, Weight.values).astype(np.float64)
        lengths, directions = np.linalg.eigh(self.multiply_by_transpose(self.alive))
        self.lengths = np.maximum(lengths, 0)
        for columns in self.column_slices():
            # The columns of pruned weights are zero.
            places = columns.start + np.flatnonzero(self.alive[columns])
            old = self.matrix[:, places].astype(np.float64, copy=False)
            self.matrix[:, places] = directions.T @ old
        self.mean = float(self.lengths.sum()) / max(1, int(np.count_nonzero(self.alive)))

    def multiply_by_transpose(self, selected: Array) -> Array:
        """Returns `R R^T` over the selected columns."""
        product = np.zeros((len(self.matrix), len(self.matrix)))
        for columns in self.column_slices():
            part = self.matrix[:, columns][:, selected[columns]].astype(np.float64, copy=False)
            product += part @ part.T
        return product

    def column_slices(self) -> list[slice]:
        """Returns slices of the columns that are small enough to be copied as float64."""
        starts = range(0, self.matrix.shape[1], COLUMNS_PER_SLICE)
        return [slice(start, start + COLUMNS_PER_SLICE) for start in starts]


class FullLoss(loss_model.LossModel):
    """Models the loss by one quadratic over all weights.

    Args:
        root: the root of the curvature.
        damping: alpha, relative to the mean of the curvature's diagonal.
    """

    def __init__(self, root: OrthogonalRoot, damping: float) -> None:
        self.root = root
        self.alpha = damping * root.mean or float(np.finfo(np.float32).tiny)
        self._costs: dict[Weight, Array] = {}

    def compute_costs(self, weight: Weight) -> Array:
        """Returns `w_q^2 / (2 (H^-1)_qq)`, or each weight's part of the cost of its block."""
        blocks = loss_model.find_blocks(weight)
        if blocks is not None:
            return self._compute_block_costs(weight, blocks)
        if not self._costs:
            root = self.root
            remainder = np.empty(root.values.size)
            for columns in root.column_slices():
                squares = np.square(root.matrix[:, columns], dtype=np.float64)
                remainder[columns] = 1 - (1 / (self.alpha + root.lengths)) @ squares
            # Rounding errors are as large as values below 1e-12.
            costs = self.alpha * root.values**2 / (2 * np.maximum(remainder, 1e-12))
            self._costs = dict(loss_model.unflatten(root.weights, costs))
        return self._costs[weight]

    def _compute_block_costs(self, weight: Weight, blocks: Array) -> Array:
        root = self.root
        before = root.weights[: root.weights.index(weight)]
        offset = sum(each.size for each in before)
        scale = np.sqrt(1 / (self.alpha + root.lengths))

        def invert(at: Array) -> Array:
            """`(H^-1)_BB = (I - R_B^T (alpha + l)^-1 R_B) / alpha`, at least rounding errors."""
            columns = root.matrix[:, offset + at.reshape(-1)].astype(np.float64) * scale[:, None]
            columns = columns.reshape(len(scale), *at.shape).transpose(1, 0, 2)
            product = columns.transpose(0, 2, 1) @ columns
            return ((1 + 1e-12) * np.eye(at.shape[1]) - product) / self.alpha

        return loss_model.spread_block_costs(weight, blocks, invert)

    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Moves the survivors by `R_S^T (alpha I + R_S R_S^T)^-1 R_Q w_Q`."""
        root = self.root
        survivors = np.concatenate([np.asarray(mask).reshape(-1) for mask in keep])
        target = np.zeros(len(root.matrix))
        for columns in root.column_slices():
            pruned_values = np.where(survivors[columns], 0, root.values[columns])
            target += root.matrix[:, columns] @ pruned_values
        inner = root.multiply_by_transpose(survivors)
        inner[np.diag_indices_from(inner)] += self.alpha
        solution = linalg.cho_solve((dampings.cholesky(inner), True), target, check_finite=False)
        moved = root.values.copy()
        for columns in root.column_slices():
            moved[columns] += solution @ root.matrix[:, columns]
        return dict(loss_model.unflatten(weights, np.where(survivors, moved, 0)))
