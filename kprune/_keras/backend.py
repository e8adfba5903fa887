"""Reads and writes variables through TensorFlow: the one adapter between NumPy and the backend."""

import contextlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kprune._support.typing import Array


def read(variable: keras.Variable) -> Array:
    """Returns a variable's values as a read-only array, without a copy on the CPU."""
    value = variable.value
    try:  # one operation, where `read_value` takes two
        tensor = tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype)
    except (AttributeError, ValueError):  # mirrored over devices
        tensor = tf.convert_to_tensor(value)
    try:
        return np.asarray(memoryview(tensor))
    except (TypeError, ValueError, BufferError):  # another device, or bfloat16
        return np.asarray(tensor)


def is_initialized(variable: keras.Variable) -> bool:
    """Returns whether a variable has its values; inside a symbolic call it may not have yet."""
    return hasattr(variable.value, "handle") or isinstance(variable.value, tf.Variable)


def distribution_scope(model: Any) -> Any:
    """Returns the distribution strategy under which a model's variables are made."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def write_masked(
    variable: keras.Variable, mask: keras.Variable, new_mask: Array | None, values: Any
) -> None:
    """Writes a mask, and a variable's values on it: `w <- where(mask, w, 0)`.

    A variable is written whole, once: TensorFlow's updates of slices would make every later read
    copy it.
    """
    if new_mask is not None:
        mask.value.assign(new_mask)
        del new_mask  # freed before the values are copied, which is where memory peaks
    held = variable.value
    values = held if values is None else tf.cast(values, held.dtype)
    held.assign(tf.where(mask.value, values, tf.constant(0, held.dtype)))
