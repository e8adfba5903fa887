"""Wanda: the magnitude of a weight times that of its input."""

import dataclasses

import numpy as np

from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _layerwise


@registration.register
@dataclasses.dataclass(frozen=True)
class Wanda(_layerwise.LayerwiseCriterion):
    """What a layer's output loses when the weight goes: `s = |w| * ||x||_2`.

    Use it for a first look at a very large model: one forward pass over the data and no solving.
    It is Optimal Brain Damage on the layer's own squared error. As published, weights compete
    within their output alone: the score is then the rank in the column of the matrix [input,
    output], divided by its length. Whole channels compete with their scores themselves.

    Args:
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays; labels are not looked
            at. It is left out of the config.
        per_output: let weights compete within their output alone.
        batch_size: samples in a batch where `data` is whole arrays.
        recomputations: in how many parts a cut is made, each with new inputs.
        sequential: cut one layer after another, each with the inputs that the pruned ones before
            it produce, aimed at the outputs of the dense model.
        damping: of what comes after it, where `refit="least_squares"`.

    Raises:
        ValueError: there is no data, or the model does not take it.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Wanda(x))

    Reference:
        Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023.
    """

    per_output: bool = True

    def score(self, weight: Weight, statistics: loss_models.LayerwiseLoss) -> Array:
        """Returns the products, or their ranks within each output."""
        found = np.abs(weight.values()) * np.sqrt(statistics.diagonal(weight) / 2)
        if not self.per_output or weight.pattern.covers_inputs:
            return found
        matrix = weight.view.matrix(np.where(weight.alive(), found, -1))
        ranks = np.empty(matrix.shape)
        order = np.argsort(matrix, axis=0, kind="stable")
        places = np.arange(len(matrix))[:, None] / len(matrix)
        np.put_along_axis(ranks, order, np.broadcast_to(places, matrix.shape), axis=0)
        return weight.view.kernel(ranks)
