"""Describes the inputs of a model: names, shapes and types, and how they nest."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kprune._support.typing import Array

LENGTH = 32  # of a drawn sequence, unless the model has fewer positions


@dataclasses.dataclass(frozen=True)
class Input:
    """Describes one input tensor of a model.

    Args:
        name: its name in the exported file.
        shape: with the batch first; `None` where the length is free.
        dtype: the name of its type.
        limit: integers are drawn below it.
        length: stands for an axis whose length is free when values are drawn.
        is_index: whether it goes straight into an embedding, which takes floats for integers too.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    limit: int = 2
    length: int = dataclasses.field(default=LENGTH, repr=False)
    is_index: bool = dataclasses.field(default=False, repr=False)

    def accepts(self, array: Array) -> bool:
        """Returns whether an array is a batch of this input, or one example of it."""
        if array.dtype.kind in "OUS" and self.dtype != "string":
            return False
        if array.ndim not in (len(self.shape) - 1, len(self.shape)):
            return False
        wanted = self.shape[1:]
        lengths = zip(array.shape[array.ndim - len(wanted) :], wanted, strict=True)
        return all(length in (None, own) for own, length in lengths)

    def draw(self, random: np.random.Generator, batch: int) -> Array:
        """Returns plausible values: N(0, 1), indices below the limit, or a word."""
        shape = (self.shape[0] or batch, *(n or self.length for n in self.shape[1:]))
        if self.dtype == "string":
            return random.choice(np.array(["one", "two", "three"], dtype=object), shape)
        kind = np.dtype(self.dtype)
        if kind.kind in "iub" or self.is_index:
            limit = 256 if self.dtype == "uint8" and self.limit == 2 else self.limit
            return random.integers(0, limit, shape).astype(kind)
        return random.standard_normal(shape).astype(kind)


@dataclasses.dataclass(frozen=True)
class Signature:
    """Describes the inputs of a model, and how they nest in the arguments of its call.

    Args:
        inputs: in the order of `keras.tree.flatten`.
        arguments: positional arguments of the call, with an index into `inputs` at each leaf.
    """

    inputs: tuple[Input, ...]
    arguments: tuple[Any, ...]

    @property
    def batch_size(self) -> int | None:
        """The fixed first axis, or `None` where it is free."""
        return next((each.shape[0] for each in self.inputs if each.shape), None)

    @property
    def specs(self) -> list[Any]:
        """What `model.export(input_signature=...)` takes."""
        return list(
            self.pack(
                [
                    keras.InputSpec(shape=each.shape, dtype=each.dtype, name=each.name)
                    for each in self.inputs
                ]
            )
        )

    def pack(self, flat: Sequence[Any]) -> tuple[Any, ...]:
        """Nests one value for each input as the call takes them."""
        return tuple(keras.tree.map_structure(lambda index: flat[index], list(self.arguments)))

    def names(self, flat: Sequence[Array]) -> dict[str, Array]:
        """Returns one array for each input under the input's name."""
        return {each.name: array for each, array in zip(self.inputs, flat, strict=True)}

    def draw(self, random: np.random.Generator, batch: int) -> list[Array]:
        """Returns one drawn array for each input."""
        return [each.draw(random, batch) for each in self.inputs]

    def flatten(self, example: Any) -> list[Array] | None:
        """Returns one array for each input from a nest of arrays, or `None` where it does not fit.

        Args:
            example: nested as the model's call takes its inputs, or a dict by the inputs' names.
                Labels, as in (x, y) or (x, y, weights), are dropped.
        """
        names = [each.name for each in self.inputs]
        if isinstance(example, Mapping) and set(names) <= set(example):
            flat = [example[name] for name in names]
        else:
            flat = keras.tree.flatten(example)
        if len(flat) != len(names):
            labelled = isinstance(example, tuple) and len(example) in (2, 3)
            return self.flatten(example[0]) if labelled else None
        arrays = [np.asarray(leaf) for leaf in flat]
        fits = all(each.accepts(array) for array, each in zip(arrays, self.inputs, strict=True))
        return (
            [
                (array[None] if array.ndim < len(each.shape) else array).astype(
                    object if each.dtype == "string" else each.dtype
                )
                for array, each in zip(arrays, self.inputs, strict=True)
            ]
            if fits
            else None
        )
