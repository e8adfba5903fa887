"""Keeps what kprune knows of a user's model or layer in one record on that object.

The record is a Keras layer under the attribute `kprune_state`, set past Keras's tracker: Keras's
saving walks attributes and finds it, with the masks in it; Keras's bookkeeping does not, so that
`model.weights`, `summary()` and `count_params()` stay what they were.
"""

from typing import Any

import keras

ATTRIBUTE = "kprune_state"


class State(keras.layers.Layer):
    """Holds named values. Those that are Keras layers are saved with the object."""

    def __init__(self) -> None:
        super().__init__(name=ATTRIBUTE, trainable=False, dtype="float32")
        self.built = True


def get(owner: Any, name: str, default: Any = None) -> Any:
    """Returns a value of an object's record, or the default."""
    record = vars(owner).get(ATTRIBUTE)
    return default if record is None else vars(record).get(name, default)


def put(owner: Any, name: str, value: Any) -> None:
    """Sets a value of an object's record, and makes the record where there is none."""
    record = vars(owner).get(ATTRIBUTE)
    if record is None:
        record = State()
        object.__setattr__(owner, ATTRIBUTE, record)
    object.__setattr__(record, name, value)


def forget(owner: Any, *names: str) -> None:
    """Removes values from an object's record, where they are."""
    record = vars(owner).get(ATTRIBUTE)
    for name in names:
        if record is not None and name in vars(record):
            object.__delattr__(record, name)


def drop(owner: Any) -> None:
    """Removes the whole record of an object."""
    if ATTRIBUTE in vars(owner):
        object.__delattr__(owner, ATTRIBUTE)


def detach(owner: Any) -> State | None:
    """Removes the whole record of an object and returns it, to be attached again."""
    record: State | None = vars(owner).get(ATTRIBUTE)
    drop(owner)
    return record


def attach(owner: Any, record: State | None) -> None:
    """Puts a record back that `detach` has returned."""
    drop(owner)
    if record is not None:
        object.__setattr__(owner, ATTRIBUTE, record)
