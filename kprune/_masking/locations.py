"""Finds the variables of a model, and how each is read as a matrix."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from kprune import patterns
from kprune._keras import private, walk

layers = keras.layers

DEPTHWISE = layers.DepthwiseConv1D, layers.DepthwiseConv2D
SEPARABLE = layers.SeparableConv1D, layers.SeparableConv2D
TRANSPOSED = layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose
CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, *DEPTHWISE, *SEPARABLE, *TRANSPOSED)


@dataclasses.dataclass(frozen=True, eq=False)
class Location:
    """Where a variable of a model lives.

    Args:
        variable: the variable.
        layer: the layer that owns it.
        owners: the layers around it, the model first, the owner last.
    """

    variable: keras.Variable
    layer: keras.layers.Layer
    owners: tuple[keras.layers.Layer, ...]

    @property
    def path(self) -> str:
        """The variable's path, such as `lenet/dense/kernel`."""
        return str(self.variable.path)

    @property
    def place(self) -> str:
        """The names of the layers around it, such as `lenet/dense`.

        Keras's path leaves some of them out, and others in a model that was loaded.
        """
        return join_names(self.owners)

    @property
    def full_path(self) -> str:
        """The path with the names of all layers around it, such as `two/user/hidden/kernel`."""
        return f"{self.place}/{self.variable.name}"

    @property
    def kind(self) -> str:
        """One of embedding, attention, recurrent, convolution, feed_forward."""
        if self.variable.name.endswith("embeddings"):
            return "embedding"
        around = self.owners[1:] or (self.layer,)
        classes = [base.__name__ for owner in around for base in type(owner).__mro__]
        if any("Attention" in name for name in classes):  # KerasHub has many, of no common class
            return "attention"
        if any(isinstance(owner, keras.layers.RNN) for owner in self.owners):
            return "recurrent"
        return "convolution" if isinstance(self.layer, CONVOLUTIONS) else "feed_forward"

    @property
    def view(self) -> patterns.MatrixView:
        """How the variable is read as a matrix [input, output]."""
        shape = tuple(self.variable.shape)
        inputs = input_axes(self.layer, self.variable)
        outputs = tuple(axis for axis in range(len(shape)) if axis not in inputs)
        return patterns.MatrixView(shape, inputs, outputs)


def join_names(owners: Sequence[keras.layers.Layer]) -> str:
    """Returns the names of a layer and of those around it, such as `lenet/dense`."""
    return "/".join(str(owner.name) for owner in owners)


def locate(model: keras.layers.Layer) -> Iterator[Location]:
    """Yields the location of every variable of a model, each once, in the order of its layers."""
    seen: set[int] = set()
    for owners in walk.with_owners(model):
        for variable in walk.variables(owners[-1]):
            if id(variable) not in seen:
                seen.add(id(variable))
                yield Location(variable, owners[-1], owners)


def input_axes(layer: Any, variable: keras.Variable) -> tuple[int, ...]:
    """Returns the axes of a kernel that an output sums over."""
    rank = len(variable.shape)
    if isinstance(layer, layers.EinsumDense) and variable is private.kernel(layer):
        given, rest = layer.equation.replace("...", "").split(",")
        kernel, result = rest.split("->")
        summed = tuple(
            i for i, letter in enumerate(kernel) if letter in given and letter not in result
        )
        return summed or tuple(range(rank - 1))
    is_depthwise = isinstance(layer, DEPTHWISE) or (
        isinstance(layer, SEPARABLE) and variable is layer.depthwise_kernel
    )
    if is_depthwise:
        return tuple(range(rank - 2))  # (*window, channel, multiplier): a channel sums its window
    if isinstance(layer, TRANSPOSED):
        return (*range(rank - 2), rank - 1)  # (*window, output, input)
    return tuple(range(rank - 1))
