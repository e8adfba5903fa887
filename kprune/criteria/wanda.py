"""Scores weights by their magnitude times that of their input (Wanda)."""

import dataclasses

import numpy as np

from kprune._masking.weight import Weight
from kprune._second_order import loss_models
from kprune._support import registration, validation
from kprune._support.typing import Array
from kprune.criteria import _layerwise

__all__ = ["Wanda"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Wanda(_layerwise.LayerwiseCriterion):
    """Scores weights by the change of the layer's output: `s = |w| * ||x||_2`.

    Use it for a very large model: it takes one forward pass over the data and solves nothing. It is
    Optimal Brain Damage on the layer's own squared error. As published, weights compete only
    within their output: the score is then the rank in the column of the matrix [input, output],
    divided by its length. Whole channels always compete with the scores themselves.

    Args:
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays; labels are not used.
            It is left out of the config.
        per_output: let weights compete only within their output.
        batch_size: samples in a batch if `data` is whole arrays.
        recomputations: the number of steps of a mask update, each with new inputs.
        sequential: prune one layer after another, each with the inputs that the pruned ones before
            it produce, and with the outputs of the dense model as its target.
        damping: that of `refit="least_squares"`; the scores do not depend on it.

    Raises:
        ValueError: there is no data, or the model does not take it.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Wanda(x))

    Reference:
        Sun et al., A Simple and Effective Pruning Approach for Large Language Models, 2023.
    """

    per_output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.require_flag(self.per_output, "per_output")

    def score(self, weight: Weight, statistics: loss_models.LayerwiseLoss) -> Array:
        """Returns the products, or their ranks within each output."""
        products = np.abs(weight.values()) * np.sqrt(statistics.diagonal(weight) / 2)
        if not self.per_output or weight.pattern.covers_inputs:
            return products
        matrix = weight.view.matrix(np.where(weight.alive(), products, -1))
        ranks = np.empty(matrix.shape)
        order = np.argsort(matrix, axis=0, kind="stable")
        relative = np.arange(len(matrix))[:, None] / len(matrix)
        np.put_along_axis(ranks, order, np.broadcast_to(relative, matrix.shape), axis=0)
        return weight.view.kernel(ranks)
