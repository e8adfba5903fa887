"""Observes and replaces the calls of layers for the duration of a block."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from kprune._keras import borrowing


def replace_call(
    layer: keras.layers.Layer, call: Callable[..., Any]
) -> contextlib.AbstractContextManager[None]:
    """Lets a layer be called through `call(original, *args, **kwargs)` during a block.

    Keras looks `call` up on the layer at each use, in a graph of layers, in attention and in
    recurrent layers alike, so an attribute of the instance goes before the class's own. It asks the
    signature of `call` once, when a layer is made, so a wrapper may hide it.

    Args:
        layer: any Keras layer.
        call: gets the layer's own `call`, then what it is called with; returns its outputs.

    Example:
        >>> seen = []
        >>> def note(call, *args, **kwargs):
        ...     seen.append(args[0].shape)
        ...     return call(*args, **kwargs)
        >>> with replace_call(model.layers[0], note):
        ...     outputs = model(x)
    """
    return borrowing.patched(layer, "call", lambda original: functools.partial(call, original))


def called_for_inference(
    model: keras.layers.Layer,
) -> contextlib.AbstractContextManager[None]:
    """Lets a model be called with `training=False` during a block, unless the call says otherwise.

    Keras's export calls it without, and then each layer has its own default, which for layers that
    augment images is to do so.
    """

    def replace(call: Callable[..., Any]) -> Callable[..., Any]:
        def infer(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **{"training": False, **kwargs})

        return infer

    return borrowing.patched(model, "__call__", replace)


@contextlib.contextmanager
def observe_calls(
    layers: Sequence[keras.layers.Layer], note: Callable[[Any, tuple[Any, ...], Any], object]
) -> Iterator[None]:
    """Calls `note(layer, args, outputs)` after each call of some layers during a block.

    Args:
        layers: layers of a model.
        note: gets the layer, its positional arguments and its outputs.

    Example:
        >>> with observe_calls(model.layers, lambda layer, args, outputs: print(layer.name)):
        ...     outputs = model(x)
        dense
        dropout
        dense_1
    """

    def noting(layer: keras.layers.Layer) -> Callable[..., Any]:
        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            note(layer, args, outputs)
            return outputs

        return call

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replace_call(layer, noting(layer)))
        yield


@contextlib.contextmanager
def after_build(layer: keras.layers.Layer, function: Callable[[], object]) -> Iterator[None]:
    """Calls a function whenever a layer has been built, during a block.

    Args:
        layer: a layer that is not built yet.
        function: called when its weights are there.
    """

    def replace(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)  # Keras reads the signature, to know which shapes to give
        def build(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            function()

        return build

    with borrowing.patched(layer, "build", replace):
        yield
