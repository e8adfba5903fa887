"""Reads attributes of Keras's layers, models and tensors that have no public name."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def kernel(layer: keras.layers.Layer) -> keras.Variable:
    """Returns the kernel of a `Dense`, `EinsumDense` or convolution, without its LoRA part."""
    return layer._kernel


def logits(tensor: Any) -> Any:
    """Returns the logits that Keras has noted on the output of a softmax, or `None`."""
    return getattr(tensor, "_keras_logits", None)


def time_mask(tensor: Any) -> Any:
    """Returns the mask of time steps that Keras has noted on a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


def declared_bytes(make: Callable[[], Any]) -> int:
    """Returns what the variables of a model would take, without allocating them.

    Args:
        make: makes the model; an error in it ends the count.
    """
    from keras.src.backend.common import global_state

    pending = "uninitialized_variables"  # where Keras keeps variables that are not made yet
    try:
        with contextlib.suppress(Exception), keras.StatelessScope(initialize_variables=False):
            make()
        return sum(
            math.prod(each.shape) * np.dtype(keras.backend.standardize_dtype(each.dtype)).itemsize
            for each in global_state.get_global_attribute(pending) or []
        )
    finally:
        global_state.set_global_attribute(pending, [])


def is_legacy(model: Any) -> bool:
    """Returns whether an object is of Keras 2, which lives on as `tf_keras`."""
    names = "tf_keras", "keras.src.legacy"
    return any(base.__module__.startswith(names) for base in type(model).__mro__)
