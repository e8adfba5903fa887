"""Which 1x1 convolutions XNNPACK computes sparsely on ARM, and what keeps it from the others.

Where more than two thirds of the 1x1 weights are zero, XNNPACK lays a network out channel by
channel and skips zeros. It does so for a stretch of the network from a 3x3 convolution of three
channels with stride 2 to a mean over the image, and only if it has a kernel in that layout for
every operator in between.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from kprune.tflite import flatbuffer
from kprune.tflite.constants import UNPACKING

ZEROS = 2 / 3  # of the 1x1 weights of a stretch; more than these must be zero
ELEMENTWISE = (
    "ABS",
    "ADD",
    "DEPTH_TO_SPACE",
    "ELU",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NEG",
    "PRELU",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "SUB",
    "TANH",
)
PAD = ("PAD", "PADV2")


@dataclasses.dataclass(frozen=True, eq=False)
class _Graph:
    """The first sub-graph of a model, with who writes and who reads each tensor."""

    model: Any
    graph: Any
    writers: dict[int, Any]
    readers: dict[int, list[Any]]

    @classmethod
    def of(cls, model: Any) -> "_Graph":
        graph = model.subgraphs[0]
        writers: dict[int, Any] = {}
        readers: dict[int, list[Any]] = {}
        for op in graph.operators:
            writers.update((int(index), op) for index in op.outputs)
            for index in op.inputs:
                readers.setdefault(int(index), []).append(op)
        return cls(model, graph, writers, readers)

    def name(self, op: Any) -> str:
        return flatbuffer.operator(self.model, op)

    def shape(self, op: Any, position: int) -> tuple[int, ...]:
        return flatbuffer.shape(self.graph.tensors[int(op.inputs[position])])


def hindrances(model: Any) -> dict[tuple[int, int], str | None]:
    """Returns what keeps each 1x1 convolution of the first sub-graph from the sparse kernels.

    Args:
        model: a `ModelT`, dense or sparse; its zeros are not looked at.

    Returns:
        For the sub-graph and the number of each tensor that stores weights of a 1x1 convolution,
        what is in the way; `None` for nothing.
    """
    graph = _Graph.of(model)
    found: dict[tuple[int, int], str | None] = {}
    for op in graph.graph.operators:
        if graph.name(op) == "CONV_2D" and graph.shape(op, 1)[1:3] == (1, 1):
            found[0, _stored(graph, int(op.inputs[1]))] = _stretch(graph, op)
    return found


def _stored(graph: _Graph, index: int) -> int:
    """Returns the tensor in which weights are stored."""
    while index in graph.writers and graph.name(graph.writers[index]) in UNPACKING:
        index = int(graph.writers[index].inputs[0])
    return index


def _stretch(graph: _Graph, start: Any) -> str | None:
    """Walks the operators around one, and returns the first in the file that does not fit."""
    seen: list[Any] = [start]
    for op in seen:  # grows as it is walked
        for each in _around(graph, op):
            if not any(each is other for other in seen):
                seen.append(each)
    inside = [op for op in graph.graph.operators if any(op is each for each in seen)]
    causes = [cause for op in inside if (cause := _misfit(graph, op))]
    if causes:
        more = f", and {len(causes) - 1} more operators do not fit" if len(causes) > 1 else ""
        return causes[0] + more
    if not any(_entry(graph, op) for op in inside):
        return "the network does not start with a 3x3 convolution of 3 channels and stride 2"
    return None


def _around(graph: _Graph, op: Any) -> Iterator[Any]:
    """Yields the operators before and after one, as far as a stretch may go."""
    begins, ends = _entry(graph, op), graph.name(op) == "MEAN"
    for index in () if begins else op.inputs:
        if int(index) in graph.writers and graph.name(graph.writers[int(index)]) not in UNPACKING:
            yield graph.writers[int(index)]
    for index in () if ends else op.outputs:
        yield from graph.readers.get(int(index), ())


def _entry(graph: _Graph, op: Any) -> bool:
    """Whether an operator is the 3x3 convolution of three channels that begins a stretch."""
    if graph.name(op) != "CONV_2D":
        return False
    _, height, width, channels = graph.shape(op, 1)
    options = op.builtinOptions
    return (height, width, channels) == (3, 3, 3) and (options.strideH, options.strideW) == (2, 2)


def _misfit(graph: _Graph, op: Any) -> str | None:
    """Returns why an operator has no kernel in the layout channel by channel."""
    name = graph.name(op)
    where = graph.graph.tensors[int(op.outputs[0])].name.decode().split(";")[0]
    if name in ELEMENTWISE or name == "MEAN":
        return None
    if name in PAD:
        after = [graph.name(each) for each in graph.readers.get(int(op.outputs[0]), ())]
        if after and set(after) <= {"CONV_2D", "DEPTHWISE_CONV_2D"}:
            return None
        return f"{where} pads before {', '.join(after) or 'the output'}"
    if name == "CONV_2D" and graph.shape(op, 1)[1:3] == (1, 1):
        if (op.builtinOptions.strideH, op.builtinOptions.strideW) != (1, 1):
            return f"{where} is a 1x1 convolution with a stride"
        return None
    if _entry(graph, op):
        return _asymmetric(graph, op, where, 3)
    if name == "DEPTHWISE_CONV_2D":
        size = graph.shape(op, 1)[1:3]
        if size not in ((3, 3), (5, 5)) or op.builtinOptions.depthMultiplier != 1:
            return f"{where} is a depthwise convolution other than 3x3 or 5x5"
        return _asymmetric(graph, op, where, size[0])
    return f"{where}, a {name}, has no kernel in that layout"


def _asymmetric(graph: _Graph, op: Any, where: str, size: int) -> str | None:
    """Returns what is wrong with the padding of a convolution of an odd size."""
    options = op.builtinOptions
    before = graph.writers.get(int(op.inputs[0]))
    padded = before is not None and graph.name(before) in PAD
    if options.padding == flatbuffer.schema().Padding.SAME:
        if (options.strideH, options.strideW) == (1, 1) and not padded:
            return None
        if all(n % 2 for n in graph.shape(op, 0)[1:3]):
            return (
                f"{where} has a stride on an image of odd size, whose padding the converter writes "
                'as "same"; take an even size'
            )
        return (
            f'{where} has padding="same" and a stride; write '
            "kprune.models.symmetric_padding(model) before it is fine-tuned"
        )
    if before is not None and padded:
        amounts = flatbuffer.data(graph.model, graph.graph.tensors[int(before.inputs[1])])
        half = size // 2
        if amounts is not None and np.array_equal(amounts, [0, 0, half, half, half, half, 0, 0]):
            return None
    return f"{where} is not padded by {size // 2} on every side"
