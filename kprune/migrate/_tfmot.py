"""Converts a `tf_keras` model that TFMOT has pruned to a Keras 3 model with the same masks."""

import os
from collections.abc import Mapping
from typing import Any

import keras

from kprune import patterns
from kprune._keras import private
from kprune._support import signatures, validation
from kprune.migrate import _loading, _masks, _models, _verification
from kprune.migrate._errors import MigrationError

__all__ = ["MigrationError", "from_tfmot"]

CALL = "kprune.migrate.from_tfmot(model)"


@signatures.explained
def from_tfmot(
    model_or_path: Any,
    *,
    pattern: patterns.Pattern | patterns.PatternName | None = None,
    custom_objects: Mapping[str, type[keras.layers.Layer]] | None = None,
) -> keras.Model:
    """Converts a Keras 2 model that TFMOT has pruned to a Keras 3 model with the same masks.

    Use it to move a project from `tensorflow_model_optimization` to kprune, in the middle of a
    training or after it. Layers, weights and predictions are the same; each weight that TFMOT
    prunes gets TFMOT's mask, and no other weight gets one. A model without the wrappers, as
    `strip_pruning` returns it, gets masks where one in a hundred values of a kernel is zero, or
    more, and none elsewhere. The model that came stays as it is. The compiled state and the
    optimizer are not converted.

    Both models are compared on drawn inputs before the new one is returned:
    |y - y_keras_2| <= 1e-4 max |y_keras_2|.

    `w <- where(mask, w, 0)`: TFMOT keeps this up at the end of an epoch only.

    Args:
        model_or_path: a built Sequential or Functional `tf_keras.Model`, or the path of one: `.h5`,
            a SavedModel, or a `.keras` file of Keras 2. Models in it may be nested.
        pattern: the pattern of all masks. Default: TFMOT's `block_size` and `sparsity_m_by_n` of
            each layer.
        custom_objects: the Keras 3 class for the name of each layer class of your own; it takes
            the same config and has the same weights in the same order.

    Returns:
        A Keras 3 model, wrapped where there are masks, not compiled.

    Raises:
        TypeError: the argument is neither a `tf_keras` model nor a path.
        ImportError: `tf_keras` is not installed.
        OSError: there is no such file.
        MigrationError: a layer, an argument of it, an operation or a pattern has no counterpart in
            Keras 3 and kprune, and the message names it; or the outputs differ.

    Example:
        >>> model = kprune.migrate.from_tfmot("pruned.h5")              # doctest: +SKIP
        >>> kprune.report(model).sparsity                               # doctest: +SKIP
        0.8

    Reference:
        Zhu and Gupta, To Prune, or Not to Prune, 2017; TensorFlow Model Optimization Toolkit.
    """
    given = None if pattern is None else patterns.get(pattern)
    if isinstance(model_or_path, (str, os.PathLike)):
        validation.require_path(model_or_path, "kprune.migrate.from_tfmot('pruned.h5')")
        old = _loading.load(model_or_path)
    else:
        old = model_or_path
        _require_legacy_model(old)
    converted = _models.Conversion(dict(custom_objects or {}))
    new = converted.convert_model(old)
    converted.copy_weights()
    _masks.wrap(new, converted.pruned, given)
    _verification.verify(old, new)
    return new


def _require_legacy_model(model: Any) -> None:
    if private.is_legacy(model) and hasattr(model, "layers"):
        return
    if isinstance(model, keras.Model):
        raise TypeError(
            f"Got {model.name}, a model of Keras 3; expected a model of tf_keras (Keras 2), or the "
            "path of one. Write kprune.wrap(model): it takes the zeros that are there as masks."
        )
    raise TypeError(
        f"Got {validation.describe_kind(model)}; expected a model of tf_keras (Keras 2), or the "
        f"path of one. Write {CALL}, with model = tf_keras.models.load_model(path)."
    )
