"""Fine-tuning as an int8 file will compute: weights and activations rounded."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from kprune._keras import borrowing, compiled, hooks
from kprune._masking import locations
from kprune._masking.locations import Location

WEIGHT_STEPS = 127  # on either side of zero: TFLite's int8 weights are symmetric
ACTIVATION_STEPS = 255  # between the smallest and the greatest value, zero among them


@contextlib.contextmanager
def fake_quantized(model: keras.Model) -> Iterator[None]:
    """Lets a model compute with rounded weights and activations during a block.

    Use it to fine-tune a pruned model that is to be written with `to_tflite(..., "int8")` or
    "dynamic" and loses too much there. Masks stay on, and rounding keeps every zero, so the model
    is as sparse afterwards. The weights themselves stay float32: the file holds the integers.

        w -> s round(w / s), s = max |w| / 127, for each output
        x -> s (round(x / s + z) - z), s = (max x - min x) / 255, min x <= 0 <= max x

    with z the whole number that zero becomes, and the range of x that of the batch at hand. The
    gradient passes as if nothing were rounded (the straight-through estimator). What is rounded:
    the kernels that kprune prunes, with the inputs of their layers; those of recurrent
    cells at each step of time.

    Args:
        model: a built model, wrapped or plain. A compiled one traces its steps anew.

    Example:
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> with kprune.training.fake_quantized(model):
        ...     history = model.fit(x, y, epochs=1, verbose=0)

    Paper: Jacob et al., Quantization and training of neural networks for efficient
    integer-arithmetic-only inference, 2018.
    """
    kernels: dict[int, tuple[Any, list[Location]]] = {}
    for location in locations.locate(model):
        if locations.KERNEL.search(location.path) and "float" in location.variable.dtype:
            kernels.setdefault(id(location.layer), (location.layer, []))[1].append(location)
    with contextlib.ExitStack() as stack:
        stack.callback(compiled.forget, model)
        for layer, held in kernels.values():
            stack.enter_context(hooks.replace_call(layer, _make_rounding_call(layer, held)))
        compiled.forget(model)
        yield


def round_weights(w: Any, inputs: tuple[int, ...]) -> Any:
    """Rounds a kernel to 255 steps for each output, symmetric about zero, which stays zero.

    Args:
        w: the kernel.
        inputs: the axes that an output sums over.
    """
    limit = ops.max(ops.abs(w), axis=inputs, keepdims=True)
    scale = ops.where(limit > 0, limit, 1.0) / WEIGHT_STEPS
    return _straight_through(w, ops.round(w / scale) * scale)


def round_activations(x: Any) -> Any:
    """Rounds values to 256 steps between the smallest and the greatest, zero among the steps."""
    low, high = ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)
    scale = ops.where(high > low, high - low, 1.0) / ACTIVATION_STEPS
    zero = ops.round(-low / scale)
    steps = ops.clip(ops.round(x / scale) + zero, 0, ACTIVATION_STEPS)
    return _straight_through(x, (steps - zero) * scale)


def _straight_through(exact: Any, rounded: Any) -> Any:
    return exact + ops.stop_gradient(rounded - exact)


def _make_rounding_call(layer: Any, kernels: list[Location]) -> Callable[..., Any]:
    """Returns a call of a layer on rounded inputs, with rounded kernels in the kernels' place."""
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
                    borrowing.patched(layer, name, functools.partial(_instead, rounded))
                )
            return original(x, *args, **kwargs)

    return call


def _instead(rounded: Any, _: Any) -> Any:
    return rounded
