"""Finds the 1x1 convolutions that XNNPACK computes sparsely on ARM, and what prevents others.

Where more than two thirds of the 1x1 weights are zero, XNNPACK lays a network out channel by
channel and skips zeros. It does so for a stretch of the network from a 3x3 convolution of three
channels with stride 2 to a mean over the image, and only if it has a kernel in that layout for
every operator in between. Each rule was seen on an emulated Cortex-A76
(`benchmarks.speed.arm_instructions`); one is more than a matter of speed, see `find_fatal`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kprune.export._tflite.format import constants, flatbuffer
from kprune.export._tflite.format.constants import UNPACKING
from kprune.export._tflite.format.graph import Graph

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
MAX_VISITS = 1_000_000  # of operators, over all stretches
PAD = ("PAD", "PADV2")
FLAT = ("FULLY_CONNECTED", "RESHAPE", "SQUEEZE")  # that may read the mean at the end of a stretch


@dataclasses.dataclass(frozen=True, eq=False)
class _Stretch:
    """Describes the operators around some 1x1 convolutions that are laid out together.

    Args:
        weights: the tensors that store the weights of the 1x1 convolutions.
        misfits: what has no kernel in the layout channel by channel, in the order of the file.
        open: what reads the mean over the image as an image again, if anything does.
        size: how many operators there are.
    """

    weights: list[int]
    misfits: list[str]
    open: str | None
    size: int


def find_obstacles(
    model: Any, paths: Mapping[tuple[int, str], str] | None = None
) -> dict[tuple[int, int], str | None]:
    """Returns what keeps each 1x1 convolution of the first sub-graph from the sparse kernels.

    Args:
        model: a `ModelT`, dense or sparse; its zeros are not looked at.
        paths: of the Keras variables that constants hold, by sub-graph and name, for messages.

    Returns:
        For the sub-graph and the number of each tensor that stores weights of a 1x1 convolution,
        the obstacle; `None` where there is none.
    """
    found: dict[tuple[int, int], str | None] = {}
    for stretch in _stretches(Graph.of(model, paths)):
        cause = next(iter(stretch.misfits), stretch.open)
        if len(stretch.misfits) > 1:
            cause = f"{cause}, and {len(stretch.misfits) - 1} more do not fit"
        found |= {(0, index): cause for index in stretch.weights}
    return found


def find_fatal(model: Any) -> str | None:
    """Returns why a network with sparse weights would not load on ARM, or `None`.

    XNNPACK lays a stretch out channel by channel as soon as a weight passes DENSIFY and two thirds
    of the 1x1 weights are zero. If the mean at its end is then read as an image, LiteRT 2.3 fails
    to prepare the network, as it does with MobileNet (V1) once it has symmetric padding.

    Args:
        model: a `ModelT`.
    """
    graph = Graph.of(model)
    stored = {each.index: each.stored for each in constants.find(model) if each.graph == 0}
    for stretch in _stretches(graph):
        if stretch.open is None or stretch.misfits:
            continue
        # Weights that another operator computes are in no constant.
        held = [stored[each] for each in stretch.weights if each in stored]
        weights = [each for each in held if each.dtype.kind == "f"]
        size = sum(each.size for each in weights)
        zeros = size - sum(int(np.count_nonzero(each)) for each in weights)
        if zeros > ZEROS * size:
            return f"LiteRT on ARM would not load the file: {stretch.open}"
    return None


def _stretches(graph: Graph) -> list[_Stretch]:
    """Returns the stretches around all 1x1 convolutions, each once."""
    found: list[_Stretch] = []
    known: set[int] = set()
    visits = 0
    for op in graph.graph.operators:
        if graph.name(op) == "CONV_2D" and graph.shape(op, 1)[1:3] == (1, 1):
            index = _stored(graph, int(op.inputs[1]))
            if index not in known:
                found.append(_stretch(graph, op))
                known.update(found[-1].weights)
                visits += found[-1].size
                if visits > MAX_VISITS:
                    raise ValueError(
                        f"{visits:,} operators are around 1x1 convolutions, most of them around "
                        f"several; expected {MAX_VISITS:,} at most, as in a network of layers. "
                        "Write kprune.export.check(model) with the Keras model."
                    )
    return found


def _stored(graph: Graph, index: int) -> int:
    """Returns the tensor in which weights are stored."""
    while index in graph.writers and graph.name(graph.writers[index]) in UNPACKING:
        index = int(graph.writers[index].inputs[0])
    return index


def _stretch(graph: Graph, start: Any) -> _Stretch:
    """Collects the operators around one, as far as its stretch goes."""
    seen = {id(start): start}
    queue = [start]
    for op in queue:  # grows as it is walked
        for each in _around(graph, op):
            if id(each) not in seen:
                seen[id(each)] = each
                queue.append(each)
    inside = sorted(queue, key=lambda op: graph.places[id(op)])
    misfits = [cause for op in inside if (cause := _misfit(graph, op))]
    if not any(_entry(graph, op) for op in inside):
        misfits.append(
            "the network does not start with a 3x3 convolution of 3 channels and stride 2"
        )
    means = [op for op in inside if graph.name(op) == "MEAN"]
    if not means:
        misfits.append("it does not end in a mean over the image")
    after = [
        graph.name(each)
        for op in means
        for index in op.outputs
        for each in graph.readers.get(int(index), ())
        if graph.name(each) not in FLAT
    ]
    images = (
        f"the mean over the image is read by {after[0]}; flatten it, or take Dense layers"
        if after
        else None
    )
    kernels = [op for op in inside if graph.name(op) == "CONV_2D"]
    pointwise = [op for op in kernels if graph.shape(op, 1)[1:3] == (1, 1)]
    weights = [_stored(graph, int(op.inputs[1])) for op in pointwise]
    return _Stretch(weights, misfits, images, len(inside))


def _around(graph: Graph, op: Any) -> Iterator[Any]:
    """Yields the operators before and after one, as far as a stretch may go."""
    begins, ends = _entry(graph, op), graph.name(op) == "MEAN"
    for index in () if begins else op.inputs:
        before = graph.writers.get(int(index))
        if before is not None and graph.name(before) not in (*UNPACKING, "MEAN"):
            yield before
    for index in () if ends else op.outputs:
        yield from graph.readers.get(int(index), ())


def _entry(graph: Graph, op: Any) -> bool:
    """Whether an operator is the 3x3 convolution of three channels that begins a stretch."""
    if graph.name(op) != "CONV_2D":
        return False
    _, height, width, channels = graph.shape(op, 1)
    options = op.builtinOptions
    return (height, width, channels) == (3, 3, 3) and (options.strideH, options.strideW) == (2, 2)


def _misfit(graph: Graph, op: Any) -> str | None:
    """Returns why an operator has no kernel in the layout channel by channel."""
    name = graph.name(op)
    where = _label(graph, op)
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


def _label(graph: Graph, op: Any) -> str:
    """Returns the path of the layer whose kernel an operator reads, else the operator's name."""
    for index in op.inputs[1:2]:
        path = graph.variable(_stored(graph, int(index)))
        if path is not None:
            return path.rpartition("/")[0]
    for index in op.outputs[:1]:
        return str(graph.graph.tensors[int(index)].name.decode().split(";")[0])
    return graph.name(op)


def _asymmetric(graph: Graph, op: Any, where: str, size: int) -> str | None:
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
            "kprune.export.symmetric_padding(model) before it is fine-tuned"
        )
    if before is not None and padded:
        amounts = flatbuffer.data(graph.model, graph.graph.tensors[int(before.inputs[1])])
        half = size // 2
        if amounts is not None and np.array_equal(amounts, [0, 0, half, half, half, half, 0, 0]):
            return None
    return f"{where} is not padded by {size // 2} on every side"
