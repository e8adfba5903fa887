"""Lets dropout layers read their rates from variables, so that a new rate needs no new trace."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from kprune._keras import backend, compiled, hooks, step_variables

_LEAST_KEPT = 1e-6  # of a rate of 1, so that gradients stay finite


@contextlib.contextmanager
def read_from_variables(
    layers: Sequence[keras.layers.Dropout],
) -> Iterator[Callable[[keras.layers.Dropout, float], None]]:
    """Gives a function that sets the rate of a layer during a block; the rate stays after it.

    A compiled step holds the attribute `rate` as a constant. So the layers of Keras's own classes
    drop by the value of a variable instead, in a step that is traced once at the start of the block
    and once after it. Others, such as subclasses with another `call`, cost a trace at each change.

        y = where(u >= rate, x / (1 - rate), 0), u uniform in [0, 1)

    Args:
        layers: dropout layers of a model.
    """
    variables: dict[int, keras.Variable] = {}
    with contextlib.ExitStack() as stack:
        for layer in layers:
            if _can_read(layer):
                variable = step_variables.make(float(layer.rate), "rate")
                variables[id(layer)] = variable
                stack.enter_context(hooks.replace_call(layer, _make_call(layer, variable)))
        if variables:
            stack.push(compiled.forget_at_exit(*layers))
            compiled.forget(*layers)

        def set_rate(layer: keras.layers.Dropout, rate: float) -> None:
            if layer.rate == rate:
                return
            layer.rate = rate
            if id(layer) in variables:
                variables[id(layer)].assign(rate)
            else:
                compiled.forget(layer)

        yield set_rate


def _can_read(layer: keras.layers.Dropout) -> bool:
    """Returns whether a layer's `call` is Keras's own; torch, which traces nothing, needs none."""
    own = {keras.layers.Dropout.call, keras.layers.SpatialDropout1D.call}
    return backend.NAME != "torch" and type(layer).call in own


def _make_call(layer: Any, variable: keras.Variable) -> Callable[..., Any]:
    def call(original: Callable[..., Any], inputs: Any, training: bool = False) -> Any:
        if not training:
            return original(inputs, training=training)
        is_plain = type(layer).call is keras.layers.Dropout.call
        shape = layer.noise_shape if is_plain else layer._get_noise_shape(inputs)
        sizes = keras.ops.shape(inputs)
        shape = [a if b is None else b for a, b in zip(sizes, shape or sizes, strict=True)]
        uniform = keras.random.uniform(shape, dtype=inputs.dtype, seed=layer.seed_generator)
        rate = keras.ops.cast(variable, inputs.dtype)
        kept = keras.ops.maximum(1 - rate, _LEAST_KEPT)
        # as each backend chooses, so that the same seed drops the same values as without us
        is_kept = uniform < kept if backend.NAME == "jax" else uniform >= rate
        return keras.ops.where(is_kept, inputs / kept, keras.ops.zeros_like(inputs))

    return call
