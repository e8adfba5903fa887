"""Finds which layers feed the inputs of others, through whatever is between them."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import ops

from kprune._keras import backend, graphs, hooks
from kprune._keras.tensorflow import tf

Layers: TypeAlias = Sequence[keras.layers.Layer]

UNKNOWN_LENGTH = 8  # stands for an axis of any length


def find_feeding(
    model: keras.Model, sources: Layers, sinks: Layers
) -> dict[int, dict[int, None]] | None:
    """Returns for the `id` of each sink the ids of the sources nearest before its first input.

    On TensorFlow the graph of one trace is walked back. Elsewhere the model is called once with a
    sample for each source, in which that source's output is NaN and all others are not: what it
    feeds is NaN too. That costs a call of the model with as many samples as there are sources.

    Args:
        model: a built model.
        sources: layers in it.
        sinks: other layers in it; those that are not called are left out.

    Returns:
        `None` where it is not known what the model is called with, or a layer mixes samples.
    """
    arguments = graphs.call_arguments(model)
    if arguments is None or len(arguments) != 1:
        return None
    find = _walk_graph if backend.NAME == "tensorflow" else _probe
    return find(model, arguments[0], sources, sinks)


def _walk_graph(
    model: keras.Model, specs: Any, sources: Layers, sinks: Layers
) -> dict[int, dict[int, None]]:
    source_of: dict[int, int] = {}
    inputs_of: dict[int, list[Any]] = {}
    tensors_kept = []  # tensors are identified by `id`, so none may be freed meanwhile

    def note_outputs(source: Any, args: Any, outputs: Any) -> None:
        for tensor in keras.tree.flatten(outputs):
            tensors_kept.append(tensor)
            source_of[id(tensor)] = id(source)

    def note_inputs(sink: Any, args: Any, outputs: Any) -> None:
        tensors_kept.append(args[0])
        inputs_of.setdefault(id(sink), []).append(args[0])

    tensor_specs = keras.tree.map_structure(
        lambda x: tf.TensorSpec(x.shape, x.dtype, getattr(x, "name", None)), specs
    )
    with hooks.observe_calls(sources, note_outputs), hooks.observe_calls(sinks, note_inputs):
        tf.function(lambda inputs: model(inputs, training=True)).get_concrete_function(tensor_specs)
    found: dict[int, dict[int, None]] = {}
    for sink, tensors in inputs_of.items():
        queue, seen = list(tensors), set()
        found[sink] = {}
        while queue:
            tensor = queue.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if id(tensor) in source_of:
                found[sink][source_of[id(tensor)]] = None
            else:
                queue += list(tensor.op.inputs)
    return found


def _probe(
    model: keras.Model, specs: Any, sources: Layers, sinks: Layers
) -> dict[int, dict[int, None]] | None:
    count = len(sources)
    found: dict[int, dict[int, None]] = {}
    mixed = False

    def mark(tensor: Any, place: int) -> Any:
        """Makes the samples of one source NaN, and no others."""
        nonlocal mixed
        if "float" not in keras.backend.standardize_dtype(tensor.dtype):
            return tensor
        if not tensor.shape or tensor.shape[0] % count:
            mixed = True
            return tensor
        is_own = np.repeat(np.arange(count) == place, tensor.shape[0] // count)
        is_own = is_own.reshape(-1, *[1] * (len(tensor.shape) - 1))
        return ops.where(is_own, np.nan, ops.nan_to_num(tensor))

    def marking(place: int) -> Callable[..., Any]:
        def call(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            return keras.tree.map_structure(lambda tensor: mark(tensor, place), outputs)

        return call

    def note_inputs(sink: Any, args: Any, outputs: Any) -> None:
        nonlocal mixed
        values = backend.to_numpy(args[0])
        mixed |= bool(len(values) % count)
        if not mixed:
            marked = np.isnan(values.reshape(count, -1)).any(1)
            feeding = found.setdefault(id(sink), {})
            feeding.update({id(sources[int(place)]): None for place in np.flatnonzero(marked)})

    def zeros(spec: Any) -> Any:
        shape = [UNKNOWN_LENGTH if length is None else length for length in spec.shape[1:]]
        return ops.zeros((count, *shape), spec.dtype)

    with contextlib.ExitStack() as stack:
        stack.enter_context(backend.eagerly())
        for place, source in enumerate(sources):
            stack.enter_context(hooks.replace_call(source, marking(place)))
        stack.enter_context(hooks.observe_calls(sinks, note_inputs))
        model(keras.tree.map_structure(zeros, specs), training=False)
    return None if mixed else found
