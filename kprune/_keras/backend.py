"""Reads and writes variables of every backend: the one adapter between NumPy and Keras."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kprune._support.typing import Array

NAME = keras.backend.backend()


def require_tensorflow(what: str) -> None:
    """Raises unless Keras runs on TensorFlow.

    Args:
        what: what needs TensorFlow, the beginning of a sentence.

    Raises:
        RuntimeError: Keras runs on another backend.
    """
    if NAME != "tensorflow":
        raise RuntimeError(
            f"{what} needs TensorFlow, and Keras runs on {NAME}. Save the model, and do this in a "
            'process with os.environ["KERAS_BACKEND"] = "tensorflow" before the first import of '
            "keras."
        )


def to_numpy(tensor: Any) -> Array:
    """Returns a tensor of any library as an array, without a copy where that can be."""
    if isinstance(tensor, np.ndarray):
        return tensor
    if hasattr(tensor, "detach"):  # torch's, whatever Keras runs on
        tensor = tensor.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":
            tensor = tensor.float()
        return np.asarray(tensor.numpy())
    try:
        return np.asarray(memoryview(tensor))
    except (TypeError, ValueError, BufferError):  # another device, or bfloat16
        return np.asarray(tensor)


def read(variable: keras.Variable) -> Array:
    """Returns a variable's values as a read-only array, without a copy on the CPU.

    On torch the array shows what is written to the variable later.
    """
    reference = getattr(variable, "_ref", None)  # a `jax.Ref`, which `value` would read twice
    value = variable.value if reference is None else reference[...]
    if NAME == "tensorflow":
        value = _read_resource(value)
    array = to_numpy(value)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _read_resource(value: Any) -> Any:
    import tensorflow as tf

    try:  # one operation, where `read_value` takes two
        return tf.raw_ops.ReadVariableOp(resource=value.handle, dtype=value.dtype)
    except (AttributeError, ValueError):  # mirrored over devices
        return tf.convert_to_tensor(value)


def copy(variable: keras.Variable) -> Array:
    """Returns a copy of a variable's values, of its own dtype."""
    return np.array(read(variable))


def is_initialized(variable: keras.Variable) -> bool:
    """Returns whether a variable has its values; inside a symbolic call it may not have yet."""
    if NAME != "tensorflow":
        return variable._value is not None
    import tensorflow as tf

    return hasattr(variable.value, "handle") or isinstance(variable.value, tf.Variable)


def distribution_scope(model: Any) -> Any:
    """Returns the distribution strategy under which a model's variables are made."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def without_gradient() -> Any:
    """Returns a context in which nothing is recorded for a gradient."""
    if NAME != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


@contextlib.contextmanager
def eagerly() -> Any:
    """Makes all code run eagerly during a block, so that every tensor has values."""
    if NAME != "tensorflow":
        with without_gradient():
            yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def call_errors() -> tuple[type[Exception], ...]:
    """Returns what a model raises that is called with inputs of a wrong shape."""
    if NAME == "tensorflow":
        import tensorflow as tf

        return ValueError, TypeError, tf.errors.InvalidArgumentError
    return ValueError, TypeError, RuntimeError


def is_tensorflow_data(data: Any) -> bool:
    """Returns whether something is a `tf.data.Dataset`, without an import of TensorFlow."""
    return any(base.__module__.startswith("tensorflow.python.data") for base in type(data).__mro__)


def is_native(tensor: Any) -> bool:
    """Returns whether Keras's backend takes a tensor as it is: its own, or an array."""
    if isinstance(tensor, np.ndarray):
        return True
    package = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}[NAME]
    return package in sys.modules and keras.ops.is_tensor(tensor)


def write_masked(
    variable: keras.Variable, mask: keras.Variable, new_mask: Array | None, values: Any
) -> None:
    """Writes a mask, and a variable's values on it: `w <- where(mask, w, 0)`.

    A variable is written whole, once: TensorFlow's updates of slices would make every later read
    copy it.
    """
    if new_mask is not None:
        mask.assign(new_mask)
        del new_mask  # freed before the values are copied, which is where memory peaks
    with without_gradient():
        values = variable.value if values is None else keras.ops.cast(values, variable.dtype)
        variable.assign(keras.ops.where(mask.value, values, 0))


def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of tensors as a graph, on TensorFlow; elsewhere as it is."""
    if NAME != "tensorflow":
        return function
    import tensorflow as tf

    # Not converted, as Keras's own steps are not: errors keep their words.
    made = tf.function(function, autograph=False, reduce_retracing=True)
    made._omit_frequent_tracing_warning = True  # one trace for each model is not too many
    return made
