"""Finds the signature of a model: the names, shapes and types of its inputs."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kprune._keras import graphs, hooks, walk
from kprune._support import validation
from kprune.export._inputs import signatures


def find_signature(
    model: Any, input_signature: Any = None, batch_size: int | None = None
) -> signatures.Signature:
    """Returns the signature of a built model.

    Functional and Sequential models know theirs. A subclassed model knows the shapes it was built
    with; an input that goes straight into an `Embedding` is taken as integer, and others have the
    model's input type.

    Args:
        model: a built, plain Keras model.
        input_signature: one nest of `keras.InputSpec` or `tf.TensorSpec` for each positional
            argument of the call, in a list. Default: found from the model.
        batch_size: fixes the first axis. Default: it is free, or as `input_signature` has it.

    Raises:
        ValueError: the model is not built, or its inputs cannot be known.

    Example:
        >>> network = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])
        >>> find_signature(network).inputs
        (Input(name='x', shape=(None, 4), dtype='float32', limit=2),)
    """
    if input_signature is not None:
        given = isinstance(input_signature, (list, tuple))
        arguments = list(input_signature) if given else [input_signature]
        _validate(input_signature, arguments)
    elif not model.built:
        raise ValueError(
            f"{model.name} is not built, so its inputs are not known; expected a model that has "
            "been called. Write model(x) with a batch x first."
        )
    else:
        arguments = _arguments(model)
    paths, leaves = [], []
    for path, leaf in _leaves(arguments):
        paths.append(path)
        leaves.append(leaf)
    free = input_signature is None
    inputs = tuple(
        signatures.Input(
            name,
            _shape(leaf, batch_size, free),
            keras.backend.standardize_dtype(leaf.dtype),
            length=_drawn_length(model),
        )
        for name, leaf in zip(_unique_names(paths, leaves), leaves, strict=True)
    )
    numbers = list(range(len(leaves)))
    nest = tuple(keras.tree.pack_sequence_as(arguments, numbers))
    known = hasattr(model, "inputs") and model.inputs is not None
    return _set_limits(model, signatures.Signature(inputs, nest), retype=free and not known)


def _validate(input_signature: Any, arguments: list[Any]) -> None:
    """Raises TypeError if an input signature holds something other than specs."""
    for _, leaf in _leaves(arguments):
        if getattr(leaf, "shape", None) is None or getattr(leaf, "dtype", None) is None:
            raise TypeError(
                f"input_signature={validation.describe(input_signature)} holds "
                f"{validation.describe_kind(leaf)}; expected a keras.InputSpec with shape and "
                "dtype for each input. Write "
                'input_signature=[keras.InputSpec(shape=(None, 28, 28), dtype="float32")].'
            )


def _drawn_length(model: Any) -> int:
    """Returns a length of sequences that the model has positions for."""
    lengths = [getattr(layer, "sequence_length", None) for layer in walk.layers(model)]
    return min([signatures.LENGTH, *(n for n in lengths if isinstance(n, int))])


def _arguments(model: Any) -> list[Any]:
    found = graphs.call_arguments(model)
    if found is None:
        raise ValueError(
            f"the inputs of {model.name} ({type(model).__name__}) cannot be found; expected a "
            "model built by calling it, on one argument. Write "
            'input_signature=[keras.InputSpec(shape=(None, 28, 28), dtype="float32")], one entry '
            "for each argument of its call."
        )
    return found


def _leaves(arguments: list[Any]) -> Iterator[tuple[Sequence[Any], Any]]:
    yield from keras.tree.flatten_with_path(arguments)


def _shape(leaf: Any, batch_size: int | None, free: bool) -> tuple[int | None, ...]:
    shape = tuple(leaf.shape)
    return (batch_size or (None if free else shape[0]), *shape[1:]) if shape else shape


def _unique_names(paths: Sequence[Sequence[Any]], leaves: Sequence[Any]) -> list[str]:
    """Names inputs by their own names, else by their keys; safe in a SavedModel, and unique."""
    names: list[str] = []
    for path, leaf in zip(paths, leaves, strict=True):
        keys = [key for key in path if isinstance(key, str)]
        stem = re.sub(r"\W", "_", getattr(leaf, "name", None) or "_".join(keys) or "inputs")
        name, count = stem, 1
        while name in names:
            name, count = f"{stem}_{count}", count + 1
        names.append(name)
    return names


def _set_limits(model: Any, found: signatures.Signature, retype: bool) -> signatures.Signature:
    """Sets the limit of inputs that go straight into an embedding, from one call on zeros."""
    limits: dict[int, int] = {}
    zeros = [
        keras.ops.convert_to_tensor(np.zeros_like(array))
        for array in found.draw(np.random.default_rng(0), 1)
        if array.dtype != object
    ]
    if len(zeros) < len(found.inputs):
        return found
    seen: list[tuple[Any, int]] = []  # what each embedding is called on, and its number of rows

    def note(layer: Any, args: tuple[Any, ...], outputs: Any) -> None:
        seen.extend((tensor, layer.input_dim) for tensor in args[:1])

    embeddings = [each for each in walk.layers(model) if isinstance(each, keras.layers.Embedding)]
    with hooks.observe_calls(embeddings, note), contextlib.suppress(Exception):
        # An error in the model is not reported here but when it is exported.
        model(*found.pack(zeros), training=False)
    for tensor, limit in seen:
        for index, zero in enumerate(zeros):
            if tensor is zero:
                limits[index] = min(limit, limits.get(index, limit))
    inputs = tuple(
        dataclasses.replace(
            each,
            limit=limits[index],
            dtype="int32" if retype else each.dtype,
            is_index=True,
        )
        if index in limits
        else each
        for index, each in enumerate(found.inputs)
    )
    return dataclasses.replace(found, inputs=inputs)
