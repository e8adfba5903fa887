"""What every quadratic model offers."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kprune import masks, scores, weights

Array = scores.Array


class Quadratic(abc.ABC):
    """A quadratic model of a loss around the weights as they are. Subclasses implement two methods.

    Weights that have gone before stay at zero and take no part.
    """

    @abc.abstractmethod
    def costs(self, weight: weights.Weight) -> Array:
        """Returns what the loss gains when a weight goes and the others move: `w^2 / (2 M_qq)`."""

    @abc.abstractmethod
    def minimum(
        self, members: Sequence[weights.Weight], keep: Sequence[Array]
    ) -> dict[weights.Weight, Array]:
        """Returns the values of the survivors at which the loss is lowest, zero elsewhere."""


def lowest(
    members: Sequence[weights.Weight], sparsity: float, costs: Callable[[weights.Weight], Array]
) -> list[Array]:
    """Returns the masks after one cut of the lowest costs over all members."""
    parts = [scores.Part(costs(each), each.alive, name=each.path) for each in members]
    gone = sum(each.size - each.kept() for each in members)
    count = round(sparsity * sum(each.size for each in members)) - gone
    cut = masks.cut(parts, max(0, count))
    return [cut.survivors(i) & each.alive() for i, each in enumerate(members)]


def flat(members: Sequence[weights.Weight], read: Callable[[weights.Weight], Any]) -> Array:
    """Returns an array of every member, flattened one after another."""
    return np.concatenate([np.asarray(read(each)).reshape(-1) for each in members])


def shaped(members: Sequence[weights.Weight], vector: Array) -> Mapping[weights.Weight, Array]:
    """Returns the pieces of a flat vector, each in the shape of its weight."""
    ends = np.cumsum([each.size for each in members])[:-1]
    pieces = np.split(vector, ends)
    return {w: p.reshape(w.variable.shape) for w, p in zip(members, pieces, strict=True)}
