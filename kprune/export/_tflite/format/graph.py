"""Maps each tensor of a .tflite model to the operators that write and read it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kprune.export._tflite.format import flatbuffer


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Holds the first sub-graph of a model, with the operators that write and read each tensor.

    Args:
        model: the `ModelT`.
        graph: its sub-graph.
        writers: the operator that writes a tensor, by the tensor's number.
        readers: the operators that read it.
        places: of the operators in the order of the file, by their identity.
        paths: of the Keras variables that constants hold, by sub-graph and name, for messages.
    """

    model: Any
    graph: Any
    writers: dict[int, Any]
    readers: dict[int, list[Any]]
    places: dict[int, int]
    paths: Mapping[tuple[int, str], str]

    @classmethod
    def of(cls, model: Any, paths: Mapping[tuple[int, str], str] | None = None) -> "Graph":
        """Returns the first sub-graph of a `ModelT`."""
        graph = model.subgraphs[0]
        writers: dict[int, Any] = {}
        readers: dict[int, list[Any]] = {}
        for op in graph.operators:
            writers.update((int(index), op) for index in op.outputs)
            for index in op.inputs:
                readers.setdefault(int(index), []).append(op)
        places = {id(op): place for place, op in enumerate(graph.operators)}
        return cls(model, graph, writers, readers, places, paths or {})

    def name(self, op: Any) -> str:
        """Returns the name of an operator."""
        return flatbuffer.operator(self.model, op)

    def variable(self, index: int) -> str | None:
        """Returns the path of the Keras variable that a constant holds, if it is known."""
        return self.paths.get((0, self.graph.tensors[index].name.decode()))

    def shape(self, op: Any, position: int) -> tuple[int, ...]:
        """Returns the shape of an input of an operator."""
        return flatbuffer.shape(self.graph.tensors[int(op.inputs[position])])
