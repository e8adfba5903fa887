"""Keeps a variable beside each masked weight, for what a training accumulates of it."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kprune._keras import backend, state, step_variables
from kprune._masking import masked_weights, storing
from kprune._masking.weight import Weight
from kprune._support.typing import Array

_PREFIX = "slots_"


class SlotVariables(keras.layers.Layer):
    """A float32 variable of a weight's shape for each weight, zero at first.

    It is part of the record of the model, so it is saved and resumed with it, as masks are.
    """

    def __init__(self, name: str, weights: Sequence[Weight], owner: keras.layers.Layer) -> None:
        super().__init__(name=name, trainable=False, dtype="float32")
        self.built = True
        self.owner = weakref.ref(owner)
        self.locations = [each.location for each in weights]
        self.places = {id(each.variable): place for place, each in enumerate(weights)}
        for each in weights:
            step_variables.add(self, each.variable, "float32", "zeros")

    def beside(self, variable: keras.Variable) -> Any:
        """Returns the slot variable of a variable, or `None` where it has none."""
        place = self.places.get(id(variable))
        return None if place is None else self.weights[place]

    def save_own_variables(self, store: Any) -> None:
        """Writes each variable under the path of its weight."""
        storing.save(store, self._by_path())

    def load_own_variables(self, store: Any) -> None:
        """Reads the variables; a file that has none leaves them as they are."""
        if len(store.keys()):
            storing.load(store, self._by_path(), f"scores ({self.name})")

    def _by_path(self) -> dict[str, keras.Variable]:
        found = storing.paths(self.owner(), self.locations)
        return dict(zip(found, self.weights, strict=True))


def of(model: keras.Model, name: str) -> SlotVariables:
    """Returns the slot variables of a model under a name, new ones where it has none.

    Args:
        model: a wrapped model.
        name: what they are for, such as "movement".
    """
    weights = masked_weights.require(model)
    held: SlotVariables | None = state.get(model, _PREFIX + name)
    if held is None or set(held.places) != {id(each.variable) for each in weights}:
        with backend.distribution_scope(model):
            held = SlotVariables(name, weights, model)
        state.put(model, _PREFIX + name, held)
    return held


def values(
    model: keras.Model, name: str, weights: Sequence[Weight]
) -> Mapping[Weight, Array] | None:
    """Returns what the slot variables of some weights hold, or `None` where there are none."""
    held: SlotVariables | None = state.get(model, _PREFIX + name)
    if held is None or not all(id(each.variable) in held.places for each in weights):
        return None
    return {each: backend.read(held.beside(each.variable)) for each in weights}


def clear(model: keras.layers.Layer, name: str) -> None:
    """Removes the slot variables under a name from the record of a model."""
    state.forget(model, _PREFIX + name)


def _names(model: keras.layers.Layer) -> list[str] | None:
    """Returns the names of the slot variables of a model, or `None` where it has none."""
    found = [name.removeprefix(_PREFIX) for name in state.names(model) if name.startswith(_PREFIX)]
    return found or None


def _make(model: keras.layers.Layer, found: Sequence[str]) -> None:
    """Makes the slot variables that a file has, before they are read."""
    for name in found:
        of(model, name)


state.save_fact("slot_variables", _names, _make)
