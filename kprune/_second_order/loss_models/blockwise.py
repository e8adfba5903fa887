"""Models a loss by one quadratic for each block of adjacent weights of one output.

Each block has an explicit inverse, which is updated by one factor of the curvature after another.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kprune._masking.weight import Weight
from kprune._second_order.hessian import inverse
from kprune._second_order.loss_models import loss_model
from kprune._support.typing import Array

SMALLEST_DAMPING = float(np.finfo(np.float32).tiny)  # used if the curvature is zero
INITIAL_DAMPING = 1e-4  # of the first inverse, relative to the mean square of the first factors


class WeightBlocks:
    """Accumulates the curvature of one weight in blocks along its inputs.

    Args:
        weight: the weight; its matrix [input, output] is read column by column.
        size: how many values a block has; the last one is padded.
    """

    def __init__(self, weight: Weight, size: int) -> None:
        self.weight, self.size = weight, min(size, weight.size)
        self.number = -(-weight.size // self.size)
        self.squares = 0.0
        self.block_inverses: inverse.BlockInverses | None = None
        self.alive = self.split(weight.alive())

    def split(self, kernel: Array) -> Array:
        """Splits a kernel into blocks, [blocks, size]."""
        column_by_column = self.weight.view.matrix(kernel).T.reshape(-1)
        padded = np.zeros(self.number * self.size, column_by_column.dtype)
        padded[: column_by_column.size] = column_by_column
        return padded.reshape(self.number, self.size)

    def join(self, blocks: Array) -> Array:
        """Joins blocks to an array in the shape of the kernel."""
        view = self.weight.view
        columns = view.matrix(np.broadcast_to(False, view.shape)).shape[1]
        return view.kernel(blocks.reshape(-1)[: self.weight.size].reshape(columns, -1).T)

    def add(self, factors: Array) -> None:
        """Adds factors [factors, *shape] to the curvature, without weights that are pruned."""
        rows = np.stack([self.split(factor) for factor in factors]) * self.alive
        mean = float(np.mean(np.square(rows, dtype=np.float64)))
        if self.block_inverses is None:
            alpha = INITIAL_DAMPING * mean * len(rows) or SMALLEST_DAMPING
            self.block_inverses = inverse.BlockInverses(self.number, self.size, alpha)
        self.block_inverses.add(rows)
        self.squares += mean * rows.size

    def invert(self, damping: float, samples: float) -> Array:
        """Returns the inverse of each block, damped relative to the mean of the diagonal."""
        mean = self.squares / samples / max(1, int(np.count_nonzero(self.alive)))
        assert self.block_inverses is not None  # the data is not empty
        return self.block_inverses.compute_inverse(damping * mean or SMALLEST_DAMPING, samples)


class BlockwiseLoss(loss_model.LossModel):
    """Models the loss by one quadratic for each block of weights.

    Args:
        blocks: for each weight its blocks, after all factors were added.
        samples: how many samples there were.
        damping: relative to the mean of the diagonal.
    """

    def __init__(
        self, blocks: Mapping[Weight, WeightBlocks], samples: float, damping: float
    ) -> None:
        self.blocks = blocks
        self.inverse = {
            weight: weight_blocks.invert(damping, samples)
            for weight, weight_blocks in blocks.items()
        }

    def compute_costs(self, weight: Weight) -> Array:
        """Returns `w_q^2 / (2 M_qq)`, M the inverse of its block of the curvature.

        Where whole blocks are pruned, a weight costs its part of its block.
        """
        blocks = self.blocks[weight]
        pruned_together = loss_model.find_blocks(weight)
        if pruned_together is not None:
            return self._compute_block_costs(weight, pruned_together)
        w = blocks.split(weight.values()).astype(np.float64)
        diagonal = np.diagonal(self.inverse[weight], axis1=1, axis2=2)
        return blocks.join(w**2 / (2 * diagonal))

    def _compute_block_costs(self, weight: Weight, pruned_together: Array) -> Array:
        blocks, inverse = self.blocks[weight], self.inverse[weight]
        places = np.arange(weight.size).reshape(weight.view.shape)
        place_of = np.empty(weight.size, np.int64)  # in the blocks, for each flat position
        place_of[blocks.split(places).reshape(-1)[: weight.size]] = np.arange(weight.size)

        def invert(at: Array) -> Array:
            block, row = np.divmod(place_of[at], blocks.size)
            found = inverse[block[:, :, None], row[:, :, None], row[:, None]]
            return np.where(block[:, :, None] == block[:, None], found, 0)

        return loss_model.spread_block_costs(weight, pruned_together, invert)

    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Moves the survivors by `-M_SQ M_QQ^-1 w_Q` in each block."""
        values = {}
        for weight, survivors in zip(weights, keep, strict=True):
            blocks, matrix = self.blocks[weight], self.inverse[weight]
            w = blocks.split(weight.values()).astype(np.float64)
            pruned = blocks.alive & ~blocks.split(survivors)
            inner = np.where(pruned[:, :, None] & pruned[:, None], matrix, np.eye(blocks.size))
            solution = np.linalg.solve(inner, np.where(pruned, w, 0)[..., None])
            moved = w - (matrix @ solution)[..., 0]
            values[weight] = np.where(survivors, blocks.join(moved), 0)
        return values
