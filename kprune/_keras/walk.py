"""Walks over the layers and variables of a model, and over the models that share its layers."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras


def layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a model or layer and every layer in it, each once, itself first."""
    return list(model._flatten_layers())


def with_owners(
    model: keras.layers.Layer,
) -> Iterator[tuple[keras.layers.Layer, ...]]:
    """Yields every layer of a model once, itself first, after the layers around it.

    Each as a tuple: the model first, the layer last.
    """
    seen: set[int] = set()

    def visit(layer: Any, owners: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if id(layer) not in seen:
            seen.add(id(layer))
            owners = (*owners, layer)
            yield owners
            for sublayer in children(layer):
                yield from visit(sublayer, owners)

    yield from visit(model, ())


def variables(layer: keras.layers.Layer) -> Sequence[keras.Variable]:
    """Returns the variables that a layer owns itself, without those of layers in it."""
    return (*layer._trainable_variables, *layer._non_trainable_variables)


def is_state(layer: keras.layers.Layer, variable: keras.Variable) -> bool:
    """Returns whether a layer has made a variable with `trainable=False`, as no optimizer's.

    A frozen layer has made its kernel otherwise.
    """
    return any(variable is each for each in layer._non_trainable_variables)


def children(layer: keras.layers.Layer) -> Sequence[keras.layers.Layer]:
    """Returns the layers that a layer holds directly."""
    found: Sequence[keras.layers.Layer] = layer._layers
    return found


def models_sharing(changed: Iterable[keras.layers.Layer]) -> Iterator[keras.Model]:
    """Yields every live model that one of some layers is, contains, or is contained in.

    No layer knows the models that hold it, so the garbage collector is asked: some 40 ms in a
    process that has imported TensorFlow. Models that `gc.freeze` has hidden are missed.

    Args:
        changed: layers or models; what is in them counts too.
    """
    changed = list(changed)
    ids = {id(each) for layer in changed for each in layers(layer)}
    candidates = [each for layer in changed for each in layers(layer)]
    seen: set[int] = set()
    for model in (*candidates, *_live_models()):
        if id(model) in seen or not isinstance(model, keras.Model):
            continue
        seen.add(id(model))
        if id(model) in ids or any(id(each) in ids for each in layers(model)):
            yield model


def _live_models() -> list[Any]:
    types: set[type] = set()
    queue: list[type] = [keras.Model]
    while queue:
        found = queue.pop()
        if found not in types:
            types.add(found)
            queue += type.__subclasses__(found)
    # An object refers to its class. `gc.get_objects` would also list tuples that another thread is
    # building, and break them. Models under construction have no list of layers yet.
    referrers = gc.get_referrers(*types)
    return [each for each in referrers if type(each) in types and "_layers" in vars(each)]
