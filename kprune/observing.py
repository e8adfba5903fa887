"""Layers observed at work: borrowed for the duration of a block, given back whatever happens."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras


@contextlib.contextmanager
def calling(layer: keras.layers.Layer, call: Callable[..., Any]) -> Iterator[None]:
    """Lets a layer be called through `call(original, *args, **kwargs)` during a block.

    Keras looks `call` up on the layer at each use, in a graph of layers, in attention and in
    recurrent layers alike, so an attribute of the instance goes before the class's own.

    Args:
        layer: any Keras layer.
        call: gets the layer's own `call`, then what it is called with; returns its outputs.

    Example:
        >>> seen = []
        >>> def note(call, *args, **kwargs):
        ...     seen.append(args[0].shape)
        ...     return call(*args, **kwargs)
        >>> with calling(model.layers[0], note):
        ...     outputs = model(x)
    """
    held = vars(layer).get("call")
    original = layer.call

    def borrowed(*args: Any, **kwargs: Any) -> Any:
        return call(original, *args, **kwargs)

    # Keras asks the signature of `call` once, when a layer is made, so a wrapper may hide it. The
    # attribute is set past Keras's tracking of attributes, which would note it as a change.
    object.__setattr__(layer, "call", borrowed)
    try:
        yield
    finally:
        if held is None:
            object.__delattr__(layer, "call")
        else:
            object.__setattr__(layer, "call", held)


@contextlib.contextmanager
def watching(
    layers: list[keras.layers.Layer], note: Callable[[Any, tuple[Any, ...], Any], None]
) -> Iterator[None]:
    """Tells `note(layer, args, outputs)` of each call of some layers during a block.

    Args:
        layers: layers of a model.
        note: gets the layer, its positional arguments and its outputs.

    Example:
        >>> with watching(model.layers, lambda layer, args, outputs: print(layer.name)):
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
            stack.enter_context(calling(layer, noting(layer)))
        yield
