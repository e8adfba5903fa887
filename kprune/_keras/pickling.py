"""Extends how Keras pickles and copies layers and models."""

import functools
from collections.abc import Callable
from typing import Any

import keras


def extend_reduce(extend: Callable[[keras.layers.Layer, Any], Any]) -> None:
    """Lets a function change what Keras returns to `pickle` and `copy` for a layer or model.

    Keras pickles a model as the bytes of a `.keras` file, which plain Keras can load; what hangs on
    the model beside its config is lost. Only this method sees the live model.

    Args:
        extend: gets the layer and the result of its `__reduce__`; returns the new result.
    """
    original = keras.layers.Layer.__reduce__
    if getattr(original, "is_extended_by_kprune", False):  # this module was imported again
        original = original.__wrapped__

    @functools.wraps(original)
    def __reduce__(self: keras.layers.Layer) -> Any:
        return extend(self, original(self))

    __reduce__.is_extended_by_kprune = True  # type: ignore[attr-defined]
    keras.layers.Layer.__reduce__ = __reduce__
