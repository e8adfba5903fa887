"""Defines what every quadratic model of a loss offers, and converts weights to vectors."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kprune._masking.weight import Weight
from kprune._selection import scores, threshold
from kprune._support.typing import Array

MAX_BATCH_VALUES = 1 << 22  # of the inverses of blocks that are computed at once


class LossModel(abc.ABC):
    """Approximates a loss by a quadratic around the present weights.

    Subclasses implement two methods. Weights that are pruned already stay at zero.
    """

    @abc.abstractmethod
    def compute_costs(self, weight: Weight) -> Array:
        """Returns the increase of the loss for each pruned value: `w^2 / (2 M_qq)`, `M = H^-1`.

        The other weights are free to move.
        """

    @abc.abstractmethod
    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Returns the values of the survivors at which the loss is lowest, zero elsewhere."""


def select_lowest(
    weights: Sequence[Weight], sparsity: float, compute_costs: Callable[[Weight], Array]
) -> list[Array]:
    """Returns masks that prune the lowest costs over all weights to a sparsity."""
    tensors = [
        scores.ScoredTensor(compute_costs(weight), weight.alive, name=weight.path)
        for weight in weights
    ]
    pruned = sum(weight.size - weight.kept() for weight in weights)
    count = round(sparsity * sum(weight.size for weight in weights)) - pruned
    lowest = threshold.find_threshold(tensors, max(0, count))
    return [lowest.survivors(i) & weight.alive() for i, weight in enumerate(weights)]


def find_blocks(weight: Weight) -> Array | None:
    """Returns where the weights of each block of the weight's pattern are in its flat values.

    Returns:
        [blocks, size], -1 where a block is smaller; `None` where single weights are pruned.
    """
    view = weight.view
    shape = weight.pattern.block_shape(view)
    if shape is None:
        return None
    positions = view.matrix(np.arange(weight.size).reshape(view.shape))
    (rows, columns), (r, c) = positions.shape, shape
    padded = np.pad(positions, ((0, -rows % r), (0, -columns % c)), constant_values=-1)
    return padded.reshape(-(-rows // r), r, -1, c).transpose(0, 2, 1, 3).reshape(-1, r * c)


def spread_block_costs(weight: Weight, blocks: Array, invert: Callable[[Array], Array]) -> Array:
    """Returns for each weight its part of what its block costs: `w_B^T (M_BB)^-1 w_B / (2 |B|)`.

    Args:
        weight: the weight.
        blocks: where the weights of each block are, from `find_blocks`.
        invert: returns M_BB of some blocks, [blocks, size, size].
    """
    values, alive = weight.values().reshape(-1), weight.alive().reshape(-1)
    result = np.zeros(weight.size)
    batch = max(1, MAX_BATCH_VALUES // blocks.shape[1] ** 2)
    for start in range(0, len(blocks), batch):
        at = blocks[start : start + batch]
        present = (at >= 0) & alive[at]
        w = np.where(present, values[at], 0).astype(np.float64)
        matrices = np.where(present[:, :, None] & present[:, None], invert(at), np.eye(at.shape[1]))
        costs = np.einsum("bi,bi->b", w, np.linalg.solve(matrices, w[..., None])[..., 0]) / 2
        each = np.maximum(costs, 0) / np.maximum(1, present.sum(1))
        result[at[present]] = np.broadcast_to(each[:, None], at.shape)[present]
    return result.reshape(weight.view.shape)


def flatten(weights: Sequence[Weight], get_array: Callable[[Weight], Any]) -> Array:
    """Returns an array of each weight as one vector, in the order of the weights."""
    return np.concatenate([np.asarray(get_array(weight)).reshape(-1) for weight in weights])


def unflatten(weights: Sequence[Weight], vector: Array) -> Mapping[Weight, Array]:
    """Splits a vector into arrays, each in the shape of its weight."""
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    pieces = np.split(vector, ends)
    return {
        weight: piece.reshape(weight.variable.shape)
        for weight, piece in zip(weights, pieces, strict=True)
    }
