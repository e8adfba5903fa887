"""A dense .tflite file rewritten: each constant in the smallest form that is read right."""

import copy
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from kprune.export._tflite import (
    constants,
    encoder,
    flatbuffer,
    placement,
    pointwise,
    sparse_array,
    targets,
)
from kprune.export._tflite.constants import Constant
from kprune.export._tflite.sparse_array import SparseArray

OVERHEAD = 384  # bytes that a further tensor, its operator and its sparsity take at the most
NO_GAIN = "too small, or too few zeros: no encoding saves bytes"
DISPENSABLE = 0.01  # a constant with fewer zeros needs no word on why it is dense


@dataclasses.dataclass(frozen=True)
class Sparsified:
    """A file rewritten.

    Args:
        content: of the file; the dense one where nothing is gained.
        sparse: whether anything is.
        reasons: why constants with zeros are dense, by sub-graph and name.
    """

    content: bytes
    sparse: bool
    reasons: Mapping[tuple[int, str], str]


@dataclasses.dataclass(frozen=True, eq=False)
class _Choice:
    """What becomes of the constants that share a buffer."""

    members: list[Constant]
    sparse: SparseArray
    native: bool


def rewrite(content: bytes, target: targets.Target, avoid: Collection[str] = ()) -> Sparsified:
    """Stores the zeros of a .tflite file sparsely, where that is smaller and read right.

    Every constant gets the smallest encoding (`encoder.smallest`) behind a DENSIFY, or the blocks
    that a kernel reads directly where that is faster on the target, or stays dense. Tensors that
    share their values go on sharing them. The file is never larger than the dense one.

    Args:
        content: a dense file.
        target: where it will run.
        avoid: names of operators whose constants stay dense.
    """
    model = flatbuffer.parse(content)
    if (cause := pointwise.fatal(model)) is not None:
        zeros = [each for each in constants.find(model) if _zeros(each) >= DISPENSABLE]
        return Sparsified(content, False, {_key(each): cause for each in zeros})
    choices, reasons = _choose(model, target, avoid)
    if not choices:
        return Sparsified(content, False, reasons)
    for choice in choices:
        _store(model, choice)
    _forget(model)
    rewritten = flatbuffer.pack(model)
    if len(rewritten) >= len(content):
        reasons.update({_key(each): NO_GAIN for choice in choices for each in choice.members})
        return Sparsified(content, False, reasons)
    return Sparsified(rewritten, True, reasons)


def _choose(
    model: Any, target: targets.Target, avoid: Collection[str]
) -> tuple[list[_Choice], dict[tuple[int, str], str]]:
    """Decides for each buffer: one constant that must stay dense keeps all that share it dense."""
    groups: dict[int, list[Constant]] = {}
    for constant in constants.find(model):
        groups.setdefault(constant.tensor.buffer, []).append(constant)
    choices: list[_Choice] = []
    reasons: dict[tuple[int, str], str] = {}
    for members in groups.values():
        if _zeros(members[0]) < DISPENSABLE:
            continue
        choice = _decide(members, target, avoid)
        if isinstance(choice, str):
            reasons.update({_key(each): choice for each in members})
        else:
            choices.append(choice)
    return choices, reasons


def _decide(
    members: list[Constant], target: targets.Target, avoid: Collection[str]
) -> _Choice | str:
    """Returns how to store some constants of the same value, or why they stay dense."""
    first = members[0]
    if refused := sorted(set(avoid) & set(placement.kinds(members))):
        return f"the interpreter does not get it right before {', '.join(refused)}"
    native = all(placement.direct(each) for each in members)
    if native and (layout := target.kernel(first)):
        sparse = sparse_array.encode(first.stored, layout)
        if sparse.nbytes + OVERHEAD < first.stored.nbytes:
            return _Choice(members, sparse, native=True)
    for each in members:
        if cause := placement.obstacle(each, flatbuffer.kind(each.tensor)):
            return cause
    wide = any(placement.widened(each) for each in members)
    found = encoder.smallest(first.stored.astype(np.float32) if wide else first.stored)
    if found is None or found.nbytes + OVERHEAD * len(members) >= first.stored.nbytes:
        return NO_GAIN
    return _Choice(members, found, native=False)


def _store(model: Any, choice: _Choice) -> None:
    """Writes the constants of a choice sparsely."""
    sparse = choice.sparse
    model.buffers.append(flatbuffer.schema().BufferT(sparse.values.view(np.uint8)))
    buffer, sparsity = len(model.buffers) - 1, flatbuffer.sparsity(sparse)
    for constant in choice.members:
        graph = model.subgraphs[constant.graph]
        if choice.native:
            constant.tensor.buffer, constant.tensor.sparsity = buffer, sparsity
            _keep_from_xnnpack(model, graph, constant.index)
            continue
        # The tensor becomes what DENSIFY writes, so that its readers stay as they are; what
        # DENSIFY reads is a new one.
        stored = copy.copy(constant.tensor)
        stored.buffer, stored.sparsity = buffer, sparsity
        constant.tensor.name += b"/dense"
        ends = [_first(model, constant.graph, constant.index)]
        if sparse.values.dtype != constant.stored.dtype:
            ends = _bypass(graph, ends[0])
            stored.type = graph.tensors[ends[0]].type
        graph.tensors.append(stored)
        constant.tensor.buffer = 0
        for end in ends:
            densify = flatbuffer.schema().OperatorT(opcodeIndex=flatbuffer.opcode(model, "DENSIFY"))
            densify.inputs = np.array([len(graph.tensors) - 1], np.int32)
            densify.outputs = np.array([end], np.int32)
            graph.operators.insert(0, densify)


def _first(model: Any, number: int, index: int) -> int:
    """Gives a constant a smaller number than all that DEQUANTIZE makes of it, and returns it.

    XNNPACK unpacks tensors in the order of their numbers, and must have unpacked what it widens.
    """
    graph = model.subgraphs[number]
    wide = [
        int(op.outputs[0])
        for op in graph.operators
        if index in list(op.inputs) and flatbuffer.operator(model, op) == "DEQUANTIZE"
    ]
    first = min([index, *wide])
    if first == index:
        return index
    swap = {index: first, first: index}
    tensors = graph.tensors
    tensors[index], tensors[first] = tensors[first], tensors[index]
    for op in graph.operators:
        op.inputs, op.outputs = _renamed(op.inputs, swap), _renamed(op.outputs, swap)
    graph.inputs, graph.outputs = _renamed(graph.inputs, swap), _renamed(graph.outputs, swap)
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == number:
            for each in [*(signature.inputs or []), *(signature.outputs or [])]:
                each.tensorIndex = swap.get(each.tensorIndex, each.tensorIndex)
    return first


def _renamed(numbers: Any, swap: Mapping[int, int]) -> Any:
    return np.array([swap.get(int(each), int(each)) for each in numbers], np.int32)


def _bypass(graph: Any, index: int) -> list[int]:
    """Takes out what widens a tensor, and returns the tensors that were written."""
    widening = [op for op in graph.operators if list(op.inputs) == [index]]
    graph.operators = [op for op in graph.operators if not any(op is each for each in widening)]
    return [int(op.outputs[0]) for op in widening]


def _keep_from_xnnpack(model: Any, graph: Any, index: int) -> None:
    """Gives the readers of a sparse tensor the version of FULLY_CONNECTED that reads blocks."""
    for op in graph.operators:
        if index in list(op.inputs):
            op.opcodeIndex = flatbuffer.opcode(model, "FULLY_CONNECTED", targets.SPARSE_VERSION)


def _forget(model: Any) -> None:
    """Empties the buffers that nothing refers to any more; their numbers stay."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None


def _zeros(constant: Constant) -> float:
    return 1 - int(np.count_nonzero(constant.stored)) / max(constant.stored.size, 1)


def _key(constant: Constant) -> tuple[int, str]:
    return constant.graph, constant.name
