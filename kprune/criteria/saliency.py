"""Saliency: what the loss would not miss, to first order."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from kprune import curvature, registration, scores, weights
from kprune.criteria import criterion


@registration.register
@dataclasses.dataclass(frozen=True)
class Saliency(criterion.Calibrated):
    """The change of the loss when the weight goes, to first order: `s = |w * dL/dw|`.

    Use it before or during training, where gradients are not zero yet. `L` is the model's own
    compiled loss, averaged over the data, with dropout off and batch normalisation in inference
    mode. One backward pass over the data.

    Args:
        data: a `tf.data.Dataset` or any iterable of batches (x, y) or (x, y, sample_weight), or
            one tuple of whole arrays. It is left out of the config.
        batch_size: samples in a batch where `data` is a tuple of arrays.
        recomputations: in how many parts a cut is made, each with new gradients.

    Raises:
        ValueError: there is no data, it has no labels, or the model is not compiled.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Saliency((x, y)))

    Reference:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
        2017; as SNIP, Lee et al., 2019, when used before training.
    """

    def observe(
        self, model: keras.Model, members: Sequence[weights.Weight], stage: criterion.Stage
    ) -> dict[weights.Weight, scores.Array]:
        """Averages the gradient of the loss over the data."""
        data = self.calibration(model, labelled=True)
        loss = curvature.Objective(model, [each.variable for each in members], "Saliency")
        gradient = loss.traced("gradient", loss.gradient)
        return dict(zip(members, loss.average(data, gradient, "gradients"), strict=True))

    def score(
        self, weight: weights.Weight, evidence: dict[weights.Weight, scores.Array]
    ) -> scores.Array:
        """Returns the product of weight and gradient, without its sign."""
        gradient = evidence[weight]
        return np.abs(weight.values().astype(np.float32) * gradient.astype(np.float32))
