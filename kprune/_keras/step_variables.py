"""Makes variables that a compiled training step reads and writes anew at each call.

On TensorFlow and torch every variable is one. Keras's training step on JAX gets the variables of
the model, the optimizer and the metrics as arguments; every other one is a constant of the compiled
step. So here such a variable is a `jax.Ref`, which a compiled step reads, and writes, in place.
"""

from typing import Any

import keras

from kprune._keras import backend


def add(layer: keras.layers.Layer, like: keras.Variable, dtype: str, initializer: str) -> Any:
    """Adds a variable to a layer that is no part of any model.

    Args:
        layer: the layer, which is not trainable.
        like: the variable whose shape, name and place on devices the new one has.
        dtype: its dtype.
        initializer: "ones" or "zeros".
    """
    if backend.NAME != "jax":
        return layer.add_weight(
            name=like.name, shape=like.shape, dtype=dtype, initializer=initializer, trainable=False
        )
    variable = _referenced_class()(
        keras.initializers.get(initializer),
        shape=like.shape,
        dtype=dtype,
        trainable=False,
        name=like.name,
        layout=like._layout,
    )
    layer._track_variable(variable)
    return variable


def make(value: float, name: str) -> keras.Variable:
    """Returns a variable of one number that belongs to no layer."""
    kind = _referenced_class() if backend.NAME == "jax" else keras.Variable
    made: keras.Variable = kind(value, shape=(), dtype="float32", trainable=False, name=name)
    return made


def assign(variable: keras.Variable, value: Any) -> None:
    """Assigns to a variable that `add` has made, inside a compiled step too."""
    if backend.NAME == "jax":
        variable._direct_assign(value)
    else:
        variable.assign(value)


def _referenced_class() -> type:
    """Returns the class of variables whose value is a `jax.Ref`; one for the process."""
    global _Referenced
    if _Referenced is None:
        _Referenced = _make_referenced_class()
    return _Referenced


_Referenced: Any = None


def _make_referenced_class() -> type:
    import jax

    class Referenced(keras.Variable):
        """Holds its value in a `jax.Ref`."""

        _ref: Any = None

        @property
        def _value(self) -> Any:
            """The present value; inside a compiled step, that at the call."""
            return None if self._ref is None else self._ref[...]

        @_value.setter
        def _value(self, value: Any) -> None:
            if self._ref is not None:
                self._ref[...] = value
            elif value is not None:
                self._ref = jax.new_ref(value)

    return Referenced
