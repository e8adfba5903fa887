"""Saliency: what the loss would not miss, to first order."""

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


@registration.register
@dataclasses.dataclass(frozen=True)
class Saliency(criterion.Calibrated):
    """The change of the loss when the weight goes, to first order: `s = |w * dL/dw|`.

    Use it before or during training, where gradients are not zero yet. `L` is the model's own
    compiled loss, averaged over the data, with dropout off and batch normalisation in inference
    mode. One backward pass over the data. Without data, in the `Pruning` callback or within
    `kprune.training.accumulating`, it is `s = sum_t |w_t * dL/dw_t|` over the updates since the
    last mask update.

    Args:
        data: a `tf.data.Dataset` or any iterable of batches (x, y) or (x, y, sample_weight), or
            one tuple of whole arrays. It is left out of the config.
        batch_size: samples in a batch where `data` is a tuple of arrays.
        recomputations: in how many parts a cut is made, each with new gradients.

    Raises:
        ValueError: there is neither data nor an update, the data has no labels, or the model is
            not compiled.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Saliency((x, y)))

    Reference:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
        2017; as SNIP, Lee et al., 2019, when used before training.
    """

    @property
    def accumulation(self) -> _accumulation.Accumulation | None:
        """The saliency at each update, where no data is given."""
        if self.data is not None:
            return None
        return _accumulation.Accumulation("saliency", lambda w, g: abs(w * g), memory=0.0)

    def observe(
        self, model: keras.Model, weights: Sequence[Weight], stage: criterion.Stage
    ) -> Mapping[Weight, Array]:
        """Multiplies with the average gradient over the data, or reads what was gathered."""
        if (
            self.accumulation is not None
            and slot_variables.values(model, "saliency", weights) is not None
        ):
            return self.accumulation.read_scores(model, weights)
        data = self.calibration(model, labelled=True)
        loss = hessian.Objective(model, [weight.variable for weight in weights], "Saliency")
        gradient = loss.compile_once("gradient", loss.gradient)
        gradients = loss.average(data, gradient, "gradients")
        return {
            weight: np.abs(weight.values().astype(np.float32) * found.astype(np.float32))
            for weight, found in zip(weights, gradients, strict=True)
        }

    def score(self, weight: Weight, statistics: Any) -> Array:
        """Returns the product of weight and gradient, without its sign."""
        found: Array = statistics[weight]
        return found
