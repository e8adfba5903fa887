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
    def costs(self, weight: Weight) -> Array:
        """Returns what the loss gains when a weight goes and the others move: `w^2 / (2 M_qq)`."""

    @abc.abstractmethod
    def minimum(self, weights: Sequence[Weight], keep: Sequence[Array]) -> dict[Weight, Array]:
        """Returns the values of the survivors at which the loss is lowest, zero elsewhere."""


def lowest(
    weights: Sequence[Weight], sparsity: float, costs: Callable[[Weight], Array]
) -> list[Array]:
    """Returns the masks after one cut of the lowest costs over all weights."""
    parts = [scores.ScoredTensor(costs(each), each.alive, name=each.path) for each in weights]
    gone = sum(each.size - each.kept() for each in weights)
    count = round(sparsity * sum(each.size for each in weights)) - gone
    cut = threshold.find_threshold(parts, max(0, count))
    return [cut.survivors(i) & each.alive() for i, each in enumerate(weights)]


def flat(weights: Sequence[Weight], read: Callable[[Weight], Any]) -> Array:
    """Returns an array of every member, flattened one after another."""
    return np.concatenate([np.asarray(read(each)).reshape(-1) for each in weights])


def shaped(weights: Sequence[Weight], vector: Array) -> Mapping[Weight, Array]:
    """Returns the pieces of a flat vector, each in the shape of its weight."""
    ends = np.cumsum([each.size for each in weights])[:-1]
    pieces = np.split(vector, ends)
    return {w: p.reshape(w.variable.shape) for w, p in zip(weights, pieces, strict=True)}
