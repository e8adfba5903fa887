"""Saliency: what the loss would not miss, to first order."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kprune import registration, scores, weights
from kprune.criteria import criterion


@registration.register
@dataclasses.dataclass(frozen=True)
class Saliency(criterion.Criterion):
    """The change of the loss when the weight goes, to first order: `s = |w * dL/dw|`.

    Use it before or during training, where gradients are not zero yet. `L` is the model's own
    compiled loss, averaged over the data, with dropout off and batch normalisation in inference
    mode. One backward pass over the data.

    Args:
        data: a `tf.data.Dataset` or any iterable of batches (x, y) or (x, y, sample_weight), or
            one tuple of whole arrays. It is left out of the config.
        batch_size: samples in a batch where `data` is a tuple of arrays.

    Raises:
        ValueError: there is no data, it has no labels, or the model is not compiled.

    Example:
        >>> kprune.prune(model, 0.5, criterion=kprune.criteria.Saliency((x, y)))

    Reference:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
        2017; as SNIP, Lee et al., 2019, when used before training.
    """

    data: Any = dataclasses.field(
        default=None, repr=False, compare=False, metadata={"config": False}
    )
    batch_size: int = 128

    def observe(
        self, model: keras.Model, members: Sequence[weights.Weight]
    ) -> dict[int, scores.Array]:
        """Averages the gradient of the loss over the data."""
        if self.data is None:
            raise ValueError(
                "criterion 'saliency' has no data; expected batches (x, y). "
                "Write criterion=kprune.criteria.Saliency((x, y))."
            )
        if not model.compiled:
            raise ValueError(
                f"{model.name} has no loss; expected a compiled model. "
                'Write model.compile("adam", "sparse_categorical_crossentropy") first.'
            )
        variables = [weight.variable.value for weight in members]
        gradients = [np.zeros(variable.shape, np.float64) for variable in variables]
        samples = 0

        @tf.function(reduce_retracing=True)
        def gradient(x: Any, y: Any, sample_weight: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                predictions = model(x, training=False)
                loss = model.compute_loss(x, y, predictions, sample_weight, training=False)
            found = tape.gradient(loss, variables, unconnected_gradients="zero")
            return [tf.convert_to_tensor(each) for each in found]

        for batch in _batches(self.data, self.batch_size):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            if y is None:
                raise ValueError(
                    "The data of Saliency has no labels; expected batches (x, y). "
                    "Write kprune.criteria.Saliency((x, y))."
                )
            number = len(keras.tree.flatten(x)[0])
            samples += number
            for total, each in zip(gradients, gradient(x, y, sample_weight), strict=True):
                total += number * np.asarray(each, np.float64)
        if not samples:
            raise ValueError("The data of Saliency is empty; expected at least one batch (x, y).")
        return {
            id(weight.variable): total / samples
            for weight, total in zip(members, gradients, strict=True)
        }

    def score(self, weight: weights.Weight, evidence: dict[int, scores.Array]) -> scores.Array:
        """Returns the product of weight and gradient, without its sign."""
        gradient = evidence[id(weight.variable)]
        return np.abs(weight.values().astype(np.float32) * gradient.astype(np.float32))


def _batches(data: Any, batch_size: int) -> Iterator[Any]:
    """Yields the batches of a data set, or of a tuple of whole arrays."""
    if isinstance(data, tuple):
        data = tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    yield from data
