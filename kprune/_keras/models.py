"""Validates that what came as a model is one, and is built."""

import os
from typing import Any

import keras

from kprune._keras import private
from kprune._support import validation


def require_layer(model: Any, call: str) -> None:
    """Raises TypeError if an object is neither a model nor a layer of Keras 3.

    Args:
        model: what came.
        call: the line to write, with the word "model" where the model stands.
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(_explain(model, "a model or layer of Keras 3", call))


def require_model(model: Any, call: str) -> None:
    """Raises TypeError if an object is not a model of Keras 3.

    Args:
        model: what came.
        call: the line to write, with the word "model" where the model stands.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(_explain(model, "a keras.Model of Keras 3", call))


def require_built(model: keras.layers.Layer, call: str) -> None:
    """Raises ValueError if a model or layer is not built.

    Args:
        model: a model or layer.
        call: the line that came too early.
    """
    if not model.built:
        raise ValueError(
            f"{model.name} is not built, so it has no weights yet; expected a model that knows its "
            f"inputs. Write model.build(input_shape), or model(x) with a batch x, before {call}."
        )


def quantization(layer: keras.layers.Layer) -> str | None:
    """Returns how Keras has quantized a layer, such as "int8"; `None` where it has not."""
    mode: str | None = getattr(layer, "quantization_mode", None)
    return mode


def _explain(model: Any, expected: str, call: str) -> str:
    """Returns what came in place of a model, what was expected, and the line to write."""
    if private.is_legacy(model):
        return (
            f"Got a legacy tf_keras model; expected {expected}. Write `import keras` "
            "in place of `import tf_keras`, and do not set TF_USE_LEGACY_KERAS."
        )
    if type(model).__module__ == "kprune._masking.report":
        return (
            f"Got a kprune report; expected {expected}. kprune.prune changes the model in place "
            "and returns a report: write kprune.prune(model, 0.9) on a line of its own."
        )
    if isinstance(model, (str, os.PathLike)):
        loaded = call.replace("model", f"keras.saving.load_model({os.fspath(model)!r})", 1)
        return f"Got {validation.describe_kind(model)}; expected {expected}. Write {loaded}."
    if isinstance(model, type) and issubclass(model, keras.layers.Layer):
        made = f"{model.__name__}(...)"
        return (
            f"Got {validation.describe(model)}; expected {expected}, an instance. "
            f"Write {call.replace('model', made, 1)}."
        )
    came = validation.describe_kind(model)
    if model is not None and not isinstance(model, (int, float, type)):
        came = f"{came} of {type(model).__module__}" if came.startswith("a ") else came
    return f"Got {came}; expected {expected}. Write {call}, with model = keras.Sequential([...])."
