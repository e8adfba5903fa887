"""Estimates the moving statistics of batch normalisation again after pruning."""

from collections.abc import Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from kprune import calibration
from kprune._keras import backend, models, walk
from kprune._support import signatures, warning
from kprune._support.typing import Array
from kprune.training import _normalization_inputs as inputs

__all__ = ["recalibrate_batch_norm"]

M = TypeVar("M", bound=keras.Model)

CALL = "kprune.recalibrate_batch_norm(model, x)"


@signatures.explained
def recalibrate_batch_norm(
    model: M,
    data: calibration.Data,
    batch_size: int = 128,
    dense: keras.Model | None = None,
) -> M:
    """Estimates the moving statistics of batch normalisation again, in place.

    Use it after pruning at once, before the accuracy is measured: the pruned layers before it
    give other means and variances than those that were learned. Give the dense model where you
    have it. Then what leaves each normalisation has again the mean and the standard deviation that
    it has in the dense model on the same data, whether or not its statistics are those of the data,

    `sqrt(v') = sqrt(v) s / s_d`,  `m' = mu - sqrt(v') (mu_d - m) / sqrt(v)`,

    with m the dense layer's moving mean, v its moving variance plus epsilon (v' likewise), mu_d and
    s_d the mean and standard deviation of its inputs, and mu and s those of the pruned layer's.
    Without the dense model the statistics are those of the data, `m' = mu`, `v' = s^2`. That is
    wrong where they are folded into scale and shift, as in networks that come from a phone. Where
    images were augmented in training and here are not, it may be better or worse.

    The pruned model is run once, layer after layer with its new statistics, each batch with its
    own; the dense model once before. The moments of all batches add up exactly,
    `mu = sum n_b mu_b / n`, `s^2 = sum n_b (s_b^2 + mu_b^2) / n - mu^2`, with n_b samples in a
    batch, so a few hundred samples are enough. Layers with `trainable=False` are included.

    Args:
        model: a built model, wrapped or not. One without batch normalisation stays as it is.
        data: batches x, (x, y) or (x, y, sample_weight), or whole arrays.
        batch_size: samples in a batch if `data` is whole arrays. Small batches, of less than 32 or
            so, have noisy statistics.
        dense: the model before it was pruned, with the same layers, such as `copy.deepcopy(model)`
            or what `keras.saving.load_model` reads. Default: there is none any more.

    Returns:
        The same model.

    Raises:
        TypeError: a model is not of Keras 3, or the data are no arrays.
        ValueError: a model is not built, the dense one has other layers, there is no data, the
            model does not take it, or it leads to NaN. The statistics then stay as they were.

    Example:
        >>> import copy
        >>> dense = copy.deepcopy(model)
        >>> kprune.prune(model, 0.5)
        >>> model = kprune.recalibrate_batch_norm(model, x, dense=dense)

    Reference:
        Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021. Matching the dense network's:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019.
    """
    models.require_model(model, CALL)
    models.require_built(model, CALL)
    layers = _find_layers(model)
    rules: list[inputs.Rule] = [lambda mean, variance: (mean, variance)] * len(layers)
    if dense is None:
        _warn_if_folded(layers)
    else:
        targets = _find_targets(model, layers, dense)
        moments = inputs.observe(dense, targets, data, batch_size)
        rules = [_match(*each) for each in zip(targets, moments, strict=True)]
    statistics = inputs.observe(model, layers, data, batch_size, rules)
    for layer, rule, found in zip(layers, rules, statistics, strict=True):
        if found.size:
            for variable, value in zip(
                inputs.statistics(layer), rule(*found.result()), strict=True
            ):
                variable.assign(value)
    return model


def _find_layers(model: keras.Model) -> list[Any]:
    kind = keras.layers.BatchNormalization
    return [each for each in walk.layers(model) if isinstance(each, kind) and each.built]


def _find_targets(model: keras.Model, layers: Sequence[Any], dense: keras.Model) -> list[Any]:
    """Returns the dense model's layer for each layer of the pruned one."""
    call = "kprune.recalibrate_batch_norm(model, x, dense=dense)"
    models.require_model(dense, call)
    models.require_built(dense, call)
    found = _find_layers(dense)
    shapes, expected = ([each.moving_mean.shape for each in group] for group in (found, layers))
    shared = {id(each) for each in found} & {id(each) for each in layers}
    if dense is model or shared or shapes != expected:
        what = f"has normalisations of {shapes}"
        what = "shares layers with the pruned model" if shared or dense is model else what
        raise ValueError(
            f"dense={dense.name} {what}; expected another model with the layers of {model.name}, "
            f"whose normalisations are of {expected}. Before pruning write "
            "dense = copy.deepcopy(model)."
        )
    return found


def _warn_if_folded(layers: Sequence[Any]) -> None:
    """Warns where statistics were never estimated, and data would replace them."""
    folded = [
        layer.name
        for layer in layers
        if _are_equal(layer.moving_mean, 0)
        and _are_equal(layer.moving_variance, 1, 2 * layer.epsilon)
        and not (_are_equal(layer.gamma, 1) and _are_equal(layer.beta, 0))
    ]
    if folded:
        warning.warn(
            f"The moving statistics of {folded[0]} are 0 and 1 while its scale and shift are not: "
            "they seem to be folded into scale and shift, which statistics of the data do not fit. "
            "With the model before pruning write "
            "kprune.recalibrate_batch_norm(model, x, dense=dense)."
        )


def _are_equal(variable: Any, value: float, tolerance: float = 0.0) -> bool:
    """Returns whether all values are a number; a scale or shift that a layer does not have is."""
    return variable is None or bool((abs(backend.read(variable) - value) <= tolerance).all())


def _match(dense: Any, moments: inputs.Moments) -> inputs.Rule:
    """Makes the rule by which outputs have the mean and deviation of those of a dense layer."""
    m, v = (backend.copy(each).astype(np.float64) for each in inputs.statistics(dense))
    if not moments.size:  # a layer that inference does not reach
        return lambda mean, variance: (m, v)
    dense_mean, dense_variance = moments.result()
    v = v + dense.epsilon

    def rule(mean: Array, variance: Array) -> tuple[Array, Array]:
        # A constant has no deviation that a factor could mend: its mean alone is matched.
        varies = (variance > 0) & (dense_variance > 0)
        ratio = np.divide(variance, dense_variance, out=np.ones_like(v), where=varies)
        # A variance is never below 0: epsilon limits how much a layer can be amplified.
        moving = np.maximum(v * ratio - dense.epsilon, 0)
        scale = np.sqrt((moving + dense.epsilon) / v)
        return mean - scale * (dense_mean - m), moving

    return rule
