"""Scores weights by the change of the loss to first order."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune._masking import slot_variables
from kprune._masking.weight import Weight
from kprune._second_order import hessian
from kprune._support import registration
from kprune._support.typing import Array
from kprune.criteria import _accumulation, criterion

__all__ = ["Saliency"]


@registration.register
@dataclasses.dataclass(frozen=True)
class Saliency(criterion.Calibrated):
    """Scores weights by the change of the loss to first order: `s = |w * dL/dw|`.

    Use it before or during training, while gradients are not zero. `L` is the model's own
    compiled loss, averaged over the data, with dropout off and batch normalisation in inference
    mode. One backward pass over the data. Without data, in the `Pruning` callback or within
    `kprune.training.accumulating`, it is `s = sum_t |w_t * dL/dw_t|` over the updates since the
    last mask update.

    Args:
        data: a `tf.data.Dataset` or any iterable of batches (x, y) or (x, y, sample_weight), or
            one tuple of whole arrays. It is left out of the config.
        batch_size: samples in a batch if `data` is a tuple of arrays.
        recomputations: the number of steps of a mask update, each with new gradients.

    Raises:
        ValueError: there is no data and no update yet, the data has no labels, or the model is not
            compiled.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Saliency((x, y)))

    Reference:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
        2017; used before training it is SNIP, Lee et al., 2019.
    """

    @property
    def accumulation(self) -> _accumulation.Accumulation | None:
        """What each update adds if there is no data: the saliency."""
        if self.data is not None:
            return None
        return _accumulation.Accumulation("saliency", lambda w, g: abs(w * g), memory=0.0)

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> Mapping[Weight, Array]:
        """Multiplies by the average gradient over the data, or reads the accumulated scores."""
        if (
            self.accumulation is not None
            and slot_variables.values(model, "saliency", weights) is not None
        ):
            return self.accumulation.read_scores(model, weights)
        data = self.calibration(model, labelled=True)
        loss = hessian.Objective(model, [weight.variable for weight in weights], "Saliency")
        compute_gradient = loss.compile_once("gradient", loss.gradient)
        gradients = loss.average(data, compute_gradient, "gradients")
        return {
            weight: np.abs(weight.values().astype(np.float32) * gradient.astype(np.float32))
            for weight, gradient in zip(weights, gradients, strict=True)
        }

    def score(self, weight: Weight, statistics: Any) -> Array:
        """Returns the absolute value of weight times gradient."""
        product: Array = statistics[weight]
        return product
