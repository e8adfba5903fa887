"""Observes the moments of what batch normalisations are given in a pass over data."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from kprune import calibration
from kprune._keras import backend, hooks
from kprune._support.typing import Array

CALLER = "recalibrate_batch_norm"


@dataclasses.dataclass
class Moments:
    """Sums the moments of a layer's inputs over batches, each with its number of samples."""

    size: float = 0.0
    means: Any = 0.0
    squares: Any = 0.0

    def add(self, size: float, mean: Array, variance: Array) -> None:
        """Adds those of a batch."""
        self.size += size
        self.means = self.means + size * mean
        self.squares = self.squares + size * (variance + mean**2)

    def result(self) -> tuple[Array, Array]:
        """Returns the mean and the variance of all batches together."""
        mean = np.asarray(self.means / self.size)
        return mean, np.maximum(self.squares / self.size - mean**2, 0)


# From the mean and variance of the inputs, the moving mean and variance.
Rule: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]


def observe(
    model: keras.Model,
    layers: Sequence[Any],
    data: calibration.Data,
    batch_size: int,
    rules: Sequence[Rule] | None = None,
) -> list[Moments]:
    """Runs a model over data, and returns the moments of what each of its layers is given.

    Args:
        model: a model.
        layers: batch normalisations in it.
        data: as the user gave it.
        batch_size: as the user gave it.
        rules: for each layer, how the moments of a batch become the statistics it is run with.
            Default: it is run with its own.
    """
    batches = calibration.Calibration(data, model, CALLER, False, batch_size)
    found = [Moments() for _ in layers]
    size = 0

    def make_call(layer: Any, place: int) -> Callable[..., Any]:
        def call(original: Callable[..., Any], inputs: Any, *args: Any, **kwargs: Any) -> Any:
            mean, variance = _compute_moments(layer, inputs, kwargs.get("mask"))
            found[place].add(size, mean, variance)
            if rules is not None:
                values = rules[place](mean, variance)
                for variable, value in zip(statistics(layer), values, strict=True):
                    variable.assign(value)
            return original(inputs, training=False, mask=kwargs.get("mask"))

        return call

    def forward(batch: calibration.Batch) -> None:
        nonlocal size
        size = batch.size
        model(batch.x, training=False)

    with contextlib.ExitStack() as stack:
        for place, layer in enumerate(layers):
            stack.enter_context(_statistics_restored(layer))
            stack.enter_context(hooks.replace_call(layer, make_call(layer, place)))
        stack.enter_context(backend.eagerly())  # inside a compiled function there are no values
        if layers:
            for _ in batches.map(forward, "statistics of batch normalisation"):
                pass
    for layer, moments in zip(layers, found, strict=True):
        if moments.size and not np.isfinite(moments.result()).all():
            raise ValueError(
                f"The inputs of {layer.name} hold NaN or infinity; expected finite "
                "numbers. To find them in the model's weights write "
                "[w.path for w in model.weights if not numpy.isfinite(w).all()]."
            )
    return found


def _compute_moments(layer: Any, inputs: Any, mask: Any) -> tuple[Array, Array]:
    """Returns mean and variance of each channel, over the positions that a mask keeps."""
    inputs = ops.cast(inputs, "float32")
    axis = layer.axis % len(inputs.shape)
    axes = [each for each in range(len(inputs.shape)) if each != axis]
    if mask is None:
        found = ops.moments(inputs, axes)
    else:
        weights = ops.cast(mask, "float32")
        weights = ops.reshape(weights, (*weights.shape, *[1] * (len(axes) + 1 - len(mask.shape))))
        weights = ops.broadcast_to(weights, inputs.shape)
        total = ops.sum(weights, axes, keepdims=True)
        mean = ops.sum(weights * inputs, axes, keepdims=True) / total
        variance = ops.sum(weights * (inputs - mean) ** 2, axes, keepdims=True) / total
        found = ops.squeeze(mean, axes), ops.squeeze(variance, axes)
    mean, variance = (backend.to_numpy(each).astype(np.float64) for each in found)
    return mean, variance


def statistics(layer: Any) -> tuple[Any, Any]:
    return layer.moving_mean, layer.moving_variance


@contextlib.contextmanager
def _statistics_restored(layer: Any) -> Iterator[None]:
    """Gives a layer its moving statistics back after a block."""
    values = [backend.copy(variable) for variable in statistics(layer)]
    try:
        yield
    finally:
        for variable, value in zip(statistics(layer), values, strict=True):
            variable.assign(value)
