"""Rounds weights and activations during fine-tuning, as an int8 file will."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from kprune._keras import borrowing, compiled, hooks
from kprune._masking import filters, locations
from kprune._masking.locations import Location

__all__ = ["fake_quantized"]

WEIGHT_STEPS = 127  # on each side of zero: TFLite's int8 weights are symmetric
ACTIVATION_STEPS = 255  # from the smallest to the greatest value


@contextlib.contextmanager
def fake_quantized(model: keras.Model) -> Iterator[None]:
    """Rounds the weights and activations of a model during a block.

    Use it to fine-tune a pruned model that loses accuracy when it is written with
    `to_tflite(..., "int8")` or "dynamic". The masks stay, and zeros are rounded to zero, so the
    sparsity does not change. The weights themselves stay float32.

        w -> s round(w / s), s = max |w| / 127, for each output
        x -> s (round(x / s + z) - z), s = (max x - min x) / 255, min x <= 0 <= max x

    with z the integer that stands for zero, and the range of x taken over the batch. The gradient
    is that without rounding (the straight-through estimator). Rounded are the kernels that kprune
    can prune, and the inputs of their layers; those of recurrent cells at each time step.

    Args:
        model: a built model, wrapped or not. If it is compiled, its steps are traced again.

    Example:
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> with kprune.training.fake_quantized(model):
        ...     history = model.fit(x, y, epochs=1, verbose=0)

    Reference:
        Jacob et al., Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference, 2018.
    """
    kernels: dict[int, tuple[Any, list[Location]]] = {}
    for location in locations.locate(model):
        if filters.KERNEL.search(location.path) and "float" in location.variable.dtype:
            kernels.setdefault(id(location.layer), (location.layer, []))[1].append(location)
    with contextlib.ExitStack() as stack:
        stack.push(compiled.forget_at_exit(model))
        for layer, layer_kernels in kernels.values():
            call = _make_rounding_call(layer, layer_kernels)
            stack.enter_context(hooks.replace_call(layer, call))
        compiled.forget(model)
        yield


def round_weights(w: Any, inputs: tuple[int, ...]) -> Any:
    """Rounds a kernel to 255 values for each output, symmetric about zero.

    Args:
        w: a kernel.
        inputs: its axes that an output sums over.
    """
    limit = ops.max(ops.abs(w), axis=inputs, keepdims=True)
    scale = ops.where(limit > 0, limit, 1.0) / WEIGHT_STEPS
    return _straight_through(w, ops.round(w / scale) * scale)


def round_activations(x: Any) -> Any:
    """Rounds values to 256 ones from the smallest to the greatest, zero among them."""
    low, high = ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)
    scale = ops.where(high > low, high - low, 1.0) / ACTIVATION_STEPS
    zero = ops.round(-low / scale)
    steps = ops.clip(ops.round(x / scale) + zero, 0, ACTIVATION_STEPS)
    return _straight_through(x, (steps - zero) * scale)


def _straight_through(exact: Any, rounded: Any) -> Any:
    return exact + ops.stop_gradient(rounded - exact)


def _make_rounding_call(layer: Any, kernels: list[Location]) -> Callable[..., Any]:
    """Returns a function that calls a layer with rounded inputs and rounded kernels."""
    attributes = [
        (name, kernel)
        for kernel in kernels
        for name, value in vars(layer).items()
        if value is kernel.variable
    ]

    def call(original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
        if "float" in keras.backend.standardize_dtype(x.dtype):
            x = round_activations(x)
        with contextlib.ExitStack() as stack:
            for name, kernel in attributes:
                rounded = round_weights(ops.convert_to_tensor(kernel.variable), kernel.view.inputs)
                stack.enter_context(
                    borrowing.patched(layer, name, functools.partial(_replace, rounded))
                )
            return original(x, *args, **kwargs)

    return call


def _replace(rounded: Any, _: Any) -> Any:
    return rounded
