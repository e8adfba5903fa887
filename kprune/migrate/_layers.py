"""Makes Keras 3 layers from the configs of Keras 2 layers."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune.migrate import _loading
from kprune.migrate._errors import MigrationError

BASE = {"name", "trainable", "dtype", "activity_regularizer"}  # that every layer takes
# Arguments of Keras 2 that change how a layer computes or what it tells Keras, not what it returns.
WITHOUT_EFFECT = {
    "batch_input_shape",
    "implementation",
    "input_length",
    "key_shape",
    "query_shape",
    "sparse",
    "value_shape",
}
RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
# Its formula is clip(0.2 x + 0.5, 0, 1) in Keras 2 and clip(x / 6 + 0.5, 0, 1) in Keras 3.
CHANGED = {"hard_sigmoid"}

Classes = Mapping[str, type[keras.layers.Layer]]


def make_layer(layer: Any, classes: Classes) -> keras.layers.Layer:
    """Makes the Keras 3 layer of a Keras 2 layer, not built yet.

    Args:
        layer: of `tf_keras`.
        classes: the Keras 3 classes of layers that Keras does not have, by their names.

    Raises:
        MigrationError: the layer, or an argument of it, has no counterpart.
    """
    kind = type(layer).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lambdas, which are refused here
        config = layer.get_config()
    if kind == "Normalization":
        # The statistics are weights in Keras 2, beside a count, and arguments in Keras 3.
        config |= {key: _flat(getattr(layer, key), layer.axis) for key in ("mean", "variance")}
    if kind not in classes and not type(layer).__module__.startswith("tf_keras"):
        raise MigrationError(_explain_unknown(layer.name, kind))
    return _make(kind, config, layer.name, classes)


def _make(kind: str, config: dict[str, Any], name: str, classes: Classes) -> Any:
    """Makes a layer or cell of a class from a config of Keras 2.

    Args:
        kind: the name of the class.
        config: as Keras 2 returns it.
        name: of the layer of the model, for messages.
        classes: as in `make_layer`.
    """
    if kind == "Lambda":
        raise MigrationError(_loading.explain_lambda(name))
    own = classes.get(kind)
    new = own or getattr(keras.layers, kind, None)
    if new is None:
        raise MigrationError(_explain_unknown(name, kind))
    if own is None:
        _check_activations(config, name)
    converted = {
        RENAMED.get((kind, key), key): _convert_value(key, value, name, classes)
        for key, value in config.items()
    }
    if own is None:
        converted = _select(converted, kind, new, name)
    if "name" in converted:
        converted["name"] = rename(converted["name"])
    try:
        made = new(**converted) if kind in WRAPPERS else new.from_config(converted)
        if own is None:
            made.trainable = config.get("trainable", True)
        return made
    except MigrationError:
        raise
    except Exception as error:
        raise MigrationError(
            f"Keras 3 cannot make {name}, a {kind}, from its config: {error} Expected arguments "
            f"that {new.__module__}.{kind} takes. Write "
            f"from_tfmot(model, custom_objects={{{kind!r}: MyKeras3Layer}})."
        ) from error


WRAPPERS = {"Bidirectional", "RNN", "StackedRNNCells", "TimeDistributed"}  # of layers or cells


def rename(name: str) -> str:
    """Returns a name that Keras 3 takes: it has no slash."""
    return name.replace("/", "_")


def _convert_value(key: str, value: Any, name: str, classes: Classes) -> Any:
    """Converts one argument of a layer."""
    if key == "dtype":
        return _convert_policy(value)
    if key == "axis" and isinstance(value, (list, tuple)) and len(value) == 1:
        return value[0]  # of normalizations
    if key == "cells":
        return [_convert_value("cell", each, name, classes) for each in value]
    if isinstance(value, Mapping) and "class_name" in value:
        kind = str(value["class_name"])
        if key.endswith("activation") and kind == "function":
            return value["config"]
        if key in ("layer", "backward_layer", "cell") or hasattr(keras.layers, kind):
            return _make(kind, dict(value["config"]), name, classes)
        if key.endswith("initializer") and not hasattr(keras.initializers, kind):
            return "zeros"  # of the user's own; the weights are copied anyway
    return value


def _flat(statistic: Any, axes: Sequence[int]) -> Any:
    """Returns a statistic of a Normalization without the axes that it does not tell apart."""
    array = np.asarray(statistic)
    return array.reshape([array.shape[axis] for axis in axes]).tolist()


def _convert_policy(value: Any) -> Any:
    """Returns the name of a dtype policy."""
    if isinstance(value, Mapping):
        value = value.get("config", {}).get("name", "float32")
    return value


def _check_activations(config: dict[str, Any], name: str) -> None:
    """Raises MigrationError for an activation that Keras 3 lacks or computes otherwise."""
    for key, value in config.items():
        is_layer = isinstance(value, Mapping) and hasattr(
            keras.layers, str(value.get("class_name"))
        )
        if not key.endswith("activation") or value is None or is_layer:
            continue
        function = value.get("config", value) if isinstance(value, Mapping) else value
        if isinstance(function, str) and function in CHANGED:
            raise MigrationError(
                f"{key}={function!r} of {name} has another formula in Keras 3; expected an "
                "activation that both compute alike. Write a Keras 3 layer with the formula of "
                "Keras 2: from_tfmot(model, custom_objects={'LSTM': MyKeras3Layer})."
            )
        if not isinstance(function, str) or not hasattr(keras.activations, function):
            shown = function if isinstance(function, str) else "a function of your own"
            raise MigrationError(
                f"{key} of {name} is {shown}; expected a function of keras.activations. Write a "
                "Keras 3 layer that has it: from_tfmot(model, custom_objects={'Dense': "
                "MyKeras3Layer})."
            )


def _select(config: dict[str, Any], kind: str, new: Any, name: str) -> dict[str, Any]:
    """Drops arguments that Keras 3 has no longer, where they say nothing."""
    parameters = inspect.signature(new).parameters
    taken = set(parameters)
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        taken |= BASE
    defaults = _defaults(kind)
    selected = {}
    for key, value in config.items():
        if key in taken:
            selected[key] = value
            continue
        # Depthwise and separable kernels have initializers, regularizers, ... of their own names.
        unused = key.startswith("kernel_") and kind.startswith(("Depthwise", "Separable"))
        silent = value is None or value is False or value == defaults.get(key)
        if key in WITHOUT_EFFECT or key == "trainable" or silent or unused:
            continue
        raise MigrationError(
            f"{key}={value!r} of {name}, a {kind}, has no counterpart in Keras 3; expected "
            f"arguments among {', '.join(sorted(taken - {'kwargs'}))}. Write "
            f"from_tfmot(model, custom_objects={{{kind!r}: MyKeras3Layer}})."
        )
    return selected


def _defaults(kind: str) -> dict[str, Any]:
    """Returns the defaults of the arguments of a Keras 2 layer, those of its base classes too."""
    old = getattr(_loading.import_tf_keras().layers, kind, object)
    return {
        name: parameter.default
        for base in reversed(old.__mro__[:-1])
        for name, parameter in inspect.signature(base).parameters.items()
    }


def _explain_unknown(name: str, kind: str) -> str:
    return (
        f"{name} is a {kind}, which Keras 3 does not have; expected layers of keras.layers. Write "
        f"it for Keras 3 and give its class: from_tfmot(model, custom_objects={{{kind!r}: "
        "MyKeras3Layer})."
    )
