"""What every quadratic model offers."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kprune._masking.weight import Weight
from kprune._selection import scores, threshold
from kprune._support.typing import Array


class LossModel(abc.ABC):
    """A quadratic model of a loss around the weights as they are. Subclasses implement two methods.

    Weights that have gone before stay at zero and take no part.
    """

    @abc.abstractmethod
    def compute_costs(self, weight: Weight) -> Array:
        """Returns what the loss gains when a weight goes and the others move: `w^2 / (2 M_qq)`."""

    @abc.abstractmethod
    def minimize(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Returns the values of the survivors at which the loss is lowest, zero elsewhere."""


def select_lowest(
    weights: Sequence[Weight], sparsity: float, costs: Callable[[Weight], Array]
) -> list[Array]:
    """Returns the masks after one cut of the lowest costs over all weights."""
    parts = [
        scores.ScoredTensor(costs(weight), weight.alive, name=weight.path) for weight in weights
    ]
    gone = sum(weight.size - weight.kept() for weight in weights)
    count = round(sparsity * sum(weight.size for weight in weights)) - gone
    cut = threshold.find_threshold(parts, max(0, count))
    return [cut.survivors(i) & weight.alive() for i, weight in enumerate(weights)]


def flatten(weights: Sequence[Weight], read: Callable[[Weight], Any]) -> Array:
    """Returns an array of every member, flattened one after another."""
    return np.concatenate([np.asarray(read(weight)).reshape(-1) for weight in weights])


def unflatten(weights: Sequence[Weight], vector: Array) -> Mapping[Weight, Array]:
    """Returns the pieces of a flat vector, each in the shape of its weight."""
    ends = np.cumsum([weight.size for weight in weights])[:-1]
    pieces = np.split(vector, ends)
    return {w: p.reshape(w.variable.shape) for w, p in zip(weights, pieces, strict=True)}
