"""Estimates the moving statistics of batch normalisation again after pruning."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import keras
import numpy as np

from kprune import calibration
from kprune._keras import backend, hooks, models, walk
from kprune._support import signatures

__all__ = ["recalibrate_batch_norm"]

M = TypeVar("M", bound=keras.Model)


@signatures.explained
def recalibrate_batch_norm(model: M, data: calibration.Data, batch_size: int = 128) -> M:
    """Estimates the moving statistics of batch normalisation again, in place.

    Use it after pruning at once, before the accuracy is measured: the pruned layers before it
    give other means and variances than those that were learned. One pass over the data, in which
    batch normalisation uses each batch's own statistics, as in training, and everything else works
    as in inference. The statistics of all batches add up exactly,

    `mean = sum n_b mean_b / n`,  `variance = sum n_b (variance_b + mean_b^2) / n - mean^2`,

    with n_b samples in a batch, so a few hundred samples are enough. They should be as in training,
    augmentation included: images that are not shifted or flipped have other statistics than those
    that the weights were trained with. Layers with `trainable=False` are included.

    Args:
        model: a built model, wrapped or not. One without batch normalisation stays as it is.
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays.
        batch_size: samples in a batch if `data` is whole arrays. Small batches, of less than 32 or
            so, have noisy statistics.

    Returns:
        The same model.

    Raises:
        TypeError: the model is not of Keras 3, or the data are no arrays.
        ValueError: the model is not built, there is no data, the model does not take it, or it
            leads to NaN. The statistics then stay as they were.

    Example:
        >>> model = kprune.recalibrate_batch_norm(model, x)

    Reference:
        Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021.
    """
    call = "kprune.recalibrate_batch_norm(model, x)"
    models.require_model(model, call)
    models.require_built(model, call)
    layers = [
        layer
        for layer in walk.layers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.built
    ]
    batches = calibration.Calibration(data, model, "recalibrate_batch_norm", False, batch_size)
    sums: dict[int, list[Any]] = {id(layer): [0.0] * 3 for layer in layers}  # n, means, squares
    size = 0

    def make_measuring_call(layer: Any) -> Callable[..., Any]:
        def call(original: Callable[..., Any], inputs: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = original(inputs, training=True, mask=kwargs.get("mask"))
            mean, variance = (
                backend.read(variable).astype(np.float64) for variable in _moving_statistics(layer)
            )
            terms: tuple[Any, ...] = 1.0, mean, variance + mean**2
            sums[id(layer)] = [a + size * b for a, b in zip(sums[id(layer)], terms, strict=True)]
            return outputs

        return call

    def forward(batch: calibration.Batch) -> Any:
        nonlocal size
        size = batch.size
        return model(batch.x, training=False)

    statistics = {}
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_use_batch_statistics(layer))
            stack.enter_context(hooks.replace_call(layer, make_measuring_call(layer)))
        if layers:
            for _ in batches.map(forward, "statistics of batch normalisation"):
                pass
        for layer in layers:
            samples, means, squares = sums[id(layer)]
            if samples:
                mean = means / samples
                statistics[id(layer)] = mean, np.maximum(squares / samples - mean**2, 0)
                if not np.isfinite(statistics[id(layer)]).all():
                    raise ValueError(
                        f"The inputs of {layer.name} hold NaN or infinity; expected finite "
                        "numbers. To find them in the model's weights write "
                        "[w.path for w in model.weights if not numpy.isfinite(w).all()]."
                    )
    for layer in layers:
        for variable, value in zip(
            _moving_statistics(layer), statistics.get(id(layer), ()), strict=False
        ):
            variable.assign(value)
    return model


def _moving_statistics(layer: Any) -> tuple[Any, Any]:
    return layer.moving_mean, layer.moving_variance


@contextlib.contextmanager
def _use_batch_statistics(layer: Any) -> Iterator[None]:
    """Makes the moving statistics those of the last batch, and restores them after the block."""
    momentum, trainable = layer.momentum, layer.trainable
    values = [backend.copy(variable) for variable in _moving_statistics(layer)]
    try:
        layer.momentum, layer.trainable = 0.0, True
        yield
    finally:
        layer.momentum, layer.trainable = momentum, trainable
        for variable, value in zip(_moving_statistics(layer), values, strict=True):
            variable.assign(value)
