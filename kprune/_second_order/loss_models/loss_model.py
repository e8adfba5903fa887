"""Defines what every quadratic model of a loss offers, and converts weights to vectors."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kprune._masking.weight import Weight
from kprune._selection import scores, threshold
from kprune._support.typing import Array


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
