"""Keeps what kprune knows of a user's model or layer in one record on that object.

The record is a Keras layer under the attribute `kprune_state`, set past Keras's tracker: Keras's
saving walks attributes and finds it, with the masks in it; Keras's bookkeeping does not, so that
`model.weights`, `summary()` and `count_params()` stay what they were.
"""

import json
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

ATTRIBUTE = "kprune_state"

_FACTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {}
_KEY = "facts"


class State(keras.layers.Layer):
    """Holds named values. Those that are Keras layers are saved with the object.

    Of the others, what `save_fact` names is saved as JSON, in bytes.
    """

    def __init__(self, owner: Any) -> None:
        super().__init__(name=ATTRIBUTE, trainable=False, dtype="float32")
        self.built = True
        self.owner = weakref.ref(owner)

    def save_own_variables(self, store: Any) -> None:
        """Writes the facts of the owner."""
        owner = self.owner()
        facts = {name: read(owner) for name, (read, _) in _FACTS.items()}
        facts = {name: value for name, value in facts.items() if value is not None}
        if facts:
            store[_KEY] = np.frombuffer(json.dumps(facts).encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Reads the facts, before Keras looks what else the record holds."""
        if _KEY not in store.keys():  # noqa: SIM118 (a store of Keras is no mapping)
            return
        facts = json.loads(np.asarray(store[_KEY], np.uint8).tobytes())
        for name, (_, write) in _FACTS.items():
            if name in facts:
                write(self.owner(), facts[name])


def save_fact(
    name: str, read: Callable[[Any], Any], write: Callable[[Any, Any], None] | None = None
) -> None:
    """Lets a fact about the owner of a record be saved with it.

    Args:
        name: of the fact, for all owners.
        read: gets the owner; returns a value for JSON, or `None` where there is none.
        write: gets the owner and the value of a file that is loaded, before the layers of the
            record are.
    """
    _FACTS[name] = read, write or (lambda owner, value: put(owner, name, value))


def get(owner: Any, name: str, default: Any = None) -> Any:
    """Returns a value of an object's record, or the default."""
    record = vars(owner).get(ATTRIBUTE)
    return default if record is None else vars(record).get(name, default)


def names(owner: Any) -> list[str]:
    """Returns the names of the values in an object's record."""
    record = vars(owner).get(ATTRIBUTE)
    return [] if record is None else list(vars(record))


def put(owner: Any, name: str, value: Any) -> None:
    """Sets a value of an object's record, and makes the record where there is none."""
    record = vars(owner).get(ATTRIBUTE)
    if record is None:
        record = State(owner)
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
