"""Observes how Keras saves the variables of layers, and loads models without side effects."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kprune._keras import borrowing


@contextlib.contextmanager
def observe_saving(
    layers: Sequence[keras.layers.Layer], note: Callable[[Any, str], object]
) -> Iterator[None]:
    """Calls `note(layer, path)` for each layer that Keras saves during a block.

    Args:
        layers: layers of the model that is saved.
        note: gets the layer and the path, in the weights' file, of the group that holds its own
            variables, such as "layers/dense/vars".
    """

    def replace(layer: keras.layers.Layer) -> Callable[[Any], Any]:
        def wrap(save: Callable[[Any], None]) -> Callable[[Any], None]:
            def save_own_variables(store: Any) -> None:
                save(store)
                note(layer, f"{store._h5_entry_path}/vars".lstrip("/"))

            return save_own_variables

        return wrap

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(borrowing.patched(layer, "save_own_variables", replace(layer)))
        yield


@contextlib.contextmanager
def preserve_global_state() -> Iterator[None]:
    """Restores, after a block, the random states and the numbers in the names of new layers.

    A model that is made and thrown away in the block then changes nothing of what comes after.
    """
    from keras.src.backend.common import global_state

    counters = "object_name_uids"  # how many layers of each name there have been
    names = dict(global_state.get_global_attribute(counters) or {})
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        current = global_state.get_global_attribute(counters)
        if current is not None:
            current.clear()
            current.update(names)
