"""Slots: a variable beside each masked weight, for what a training gathers of it.

As masks do, slots hang on the model under an attribute, unseen by Keras's bookkeeping and saved by
its saving: a training that is stopped and resumed has them again. `strip` takes them off.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kprune import weights, wrappers

PREFIX = "kprune_slots_"


class Slots(keras.layers.Layer):
    """A float32 variable of a weight's shape for each weight, zero at first."""

    def __init__(self, name: str, members: Sequence[weights.Weight]) -> None:
        super().__init__(name=name, trainable=False, dtype="float32")
        self.built = True
        self.places = {id(each.variable): place for place, each in enumerate(members)}
        for each in members:
            self.add_weight(
                name=each.variable.name,
                shape=each.variable.shape,
                initializer="zeros",
                trainable=False,
            )

    def beside(self, variable: keras.Variable) -> Any:
        """Returns the slot of a variable, or `None` where it has none."""
        place = self.places.get(id(variable))
        return None if place is None else self.weights[place]

    def load_own_variables(self, store: Any) -> None:
        """Reads the slots; a file that has none leaves them as they are."""
        if len(store.keys()):
            super().load_own_variables(store)


def of(model: keras.Model, name: str) -> Slots:
    """Returns the slots of a model under a name, new ones where it has none for its weights.

    Args:
        model: a wrapped model.
        name: what they are for, such as "movement".
    """
    members = wrappers.find(model)
    held = vars(model).get(PREFIX + name)
    if held is None or set(held.places) != {id(each.variable) for each in members}:
        with wrappers.scope(model):
            held = Slots(name, members)
        object.__setattr__(model, PREFIX + name, held)
    return held


def read(
    model: keras.Model, name: str, members: Sequence[weights.Weight]
) -> Mapping[weights.Weight, weights.Array] | None:
    """Returns what the slots of some weights hold, or `None` where there are none."""
    held = vars(model).get(PREFIX + name)
    if held is None or not all(id(each.variable) in held.places for each in members):
        return None
    return {each: weights.read(held.beside(each.variable)) for each in members}


def clear(model: keras.layers.Layer, name: str | None = None) -> None:
    """Takes the slots under a name, or all of them, off a model."""
    names = [each for each in vars(model) if each.startswith(PREFIX)]
    wrappers.forget(model, *(names if name is None else [PREFIX + name]))
