"""Says whether a model is a graph of layers, and what a model is called with."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras


def is_graph(layer: Any) -> bool:
    """Returns whether a layer is a Functional model, or a Sequential one that is built."""
    if isinstance(layer, keras.Sequential):
        return layer._functional is not None
    return hasattr(layer, "_nodes_by_depth")


def chain(model: keras.Model) -> list[Any] | None:
    """Returns the operations of a model from first to last, each fed by the one before it.

    `None` where the model is no graph, or branches.
    """
    if not is_graph(model):
        return None
    graph = model._functional if isinstance(model, keras.Sequential) else model
    nodes = graph._nodes_by_depth
    if any(len(each) > 1 for each in nodes.values()):
        return None
    return [nodes[depth][0].operation for depth in sorted(nodes, reverse=True)]


def call_arguments(model: keras.Model) -> list[Any] | None:
    """Returns what a built model is called with: for each argument a nest of specs.

    Each spec has a `shape`, a `dtype` and, in a graph, a `name`. A subclassed model knows the
    shapes that it was built with, those of its first argument alone.

    Args:
        model: a built model.

    Returns:
        One nest for each positional argument; `None` where they cannot be known.
    """
    if isinstance(model, keras.Sequential):
        return list(model.inputs)
    if getattr(model, "inputs", None) is not None and isinstance(model, keras.Model):
        return [model.input]
    shapes = (model.get_build_config() or {}).get("input_shape")
    required = [
        parameter
        for parameter in inspect.signature(model.call).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if shapes is None or len(required) > 1:
        return None
    return [_specs(shapes, model.input_dtype)]


def _specs(shapes: Any, dtype: str) -> Any:
    """Replaces each shape in a nest by a spec of that shape."""
    if isinstance(shapes, Mapping):
        return {name: _specs(shape, dtype) for name, shape in shapes.items()}
    if all(length is None or isinstance(length, int) for length in shapes):
        return keras.InputSpec(shape=tuple(shapes), dtype=dtype)
    return type(shapes)(_specs(shape, dtype) for shape in shapes)
