"""Finds the constant tensors of a .tflite model, and the operators that read them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from kprune._support.typing import Array
from kprune.export._tflite.format import flatbuffer, sparse_array

UNPACKING = ("DENSIFY", "DEQUANTIZE")  # operators that only change how a constant is stored


@dataclasses.dataclass(frozen=True)
class Reader:
    """Describes an operator that reads a constant.

    Args:
        operator: its name in TFLite's schema.
        position: which of its inputs the constant is.
        activations: the type of its first input, which is what it computes in.
    """

    operator: str
    position: int
    activations: str

    @property
    def hybrid(self) -> bool:
        """Whether an operator of integer weights computes on floats, as in dynamic range."""
        return self.activations == "float32"


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """Describes a tensor with a value.

    Args:
        graph: the number of its sub-graph.
        index: of the tensor, in the sub-graph.
        tensor: the `TensorT` itself.
        stored: the array with its zeros; bytes where NumPy has no such type.
        readers: the operators that read it, once it is unpacked.
        immediate: the operators that read it as it is stored: those, or what unpacks it.
        exposed: whether it is an input, an output or a variable of the sub-graph.
    """

    graph: int
    index: int
    tensor: Any
    stored: Array
    readers: tuple[Reader, ...]
    immediate: tuple[str, ...]
    exposed: bool

    @property
    def name(self) -> str:
        """The converter's name for it."""
        return str(self.tensor.name.decode())

    @property
    def shape(self) -> tuple[int, ...]:
        """In TFLite's layout; a Dense kernel is [output, input]."""
        return flatbuffer.shape(self.tensor)

    @property
    def operators(self) -> tuple[str, ...]:
        """The names of the readers."""
        return tuple(dict.fromkeys(reader.operator for reader in self.readers))


def find(model: Any) -> Iterator[Constant]:
    """Yields the constants of a `ModelT`, in the order of the file."""
    for number, graph in enumerate(model.subgraphs):
        readers = _map_readers(model, graph)
        exposed = {int(index) for index in [*graph.inputs, *graph.outputs]}
        for index, tensor in enumerate(graph.tensors):
            values = flatbuffer.data(model, tensor)
            if values is None:
                continue
            if tensor.sparsity is not None:
                values = sparse_array.decode(flatbuffer.sparse(model, tensor))
            yield Constant(
                graph=number,
                index=index,
                tensor=tensor,
                stored=_shaped(values, flatbuffer.shape(tensor)),
                readers=tuple(_find_readers(graph, index, readers)),
                immediate=tuple(dict.fromkeys(name for name, _, _ in readers.get(index, ()))),
                exposed=index in exposed or bool(tensor.isVariable),
            )


def _shaped(values: Array, shape: tuple[int, ...]) -> Array:
    """Returns stored values in the tensor's shape, or flat where several share a byte."""
    try:
        return values.reshape(shape)
    except ValueError:
        return values


def _map_readers(model: Any, graph: Any) -> dict[int, list[tuple[str, int, Any]]]:
    """Maps each tensor to the operators that read it: name, which input, and the operator."""
    readers: dict[int, list[tuple[str, int, Any]]] = {}
    for op in graph.operators:
        for position, index in enumerate(op.inputs):
            name = flatbuffer.operator(model, op)
            readers.setdefault(int(index), []).append((name, position, op))
    return readers


def _find_readers(
    graph: Any, index: int, readers: dict[int, list[tuple[str, int, Any]]]
) -> Iterator[Reader]:
    """Yields the operators that use a constant once it is unpacked."""
    queue = [index]
    for each in queue:  # grows as it is walked
        for name, position, op in readers.get(each, ()):
            if name in UNPACKING:
                queue.append(int(op.outputs[0]))
            else:
                first = graph.tensors[int(op.inputs[0])]
                yield Reader(name, position, flatbuffer.kind(first))
