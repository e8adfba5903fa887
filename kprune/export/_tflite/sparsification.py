"""Rewrites a dense .tflite file with each constant in the encoding that was decided."""

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kprune.export._tflite.format import encodings, flatbuffer
from kprune.export._tflite.rules import decisions, targets
from kprune.export._tflite.rules.decisions import Decision


@dataclasses.dataclass(frozen=True)
class Sparsified:
    """A file rewritten.

    Args:
        content: the file; the dense one where nothing is gained.
        decisions: how each constant is stored in it, and why.
    """

    content: bytes
    decisions: tuple[Decision, ...]

    @property
    def is_sparse(self) -> bool:
        """Whether any constant is sparse."""
        return any(each.sparse is not None for each in self.decisions)

    @property
    def reasons(self) -> Mapping[tuple[int, str], str]:
        """Why constants with zeros are dense, by sub-graph and name."""
        return {each.key: each.reason for each in self.decisions if each.reason is not None}


def rewrite(
    content: bytes,
    target: targets.Target,
    avoid: Collection[str] = (),
    paths: Mapping[tuple[int, str], str] | None = None,
) -> Sparsified:
    """Stores the zeros of a .tflite file sparsely, where that is smaller and read right.

    Every constant gets the smallest encoding (`encoder.smallest`) behind a DENSIFY, or the blocks
    that a kernel reads directly where that is faster on the target, or stays dense. Tensors that
    share their values go on sharing them. The file is never larger than the dense one.

    Args:
        content: a dense file.
        target: where it will run.
        avoid: names of operators whose constants stay dense.
        paths: of the Keras variables that constants hold, by sub-graph and name, for messages.
    """
    model = flatbuffer.parse(content)
    made = tuple(decisions.decide(model, target, avoid, paths))
    shared: dict[int, list[Decision]] = {}  # the constants of each sparse array
    for decision in made:
        if decision.sparse is not None:
            shared.setdefault(id(decision.sparse), []).append(decision)
    if not shared:
        return Sparsified(content, made)
    for group in shared.values():
        _store(model, group)
    _empty_unused_buffers(model)
    rewritten = flatbuffer.pack(model)
    if len(rewritten) < len(content):
        return Sparsified(rewritten, made)
    return Sparsified(content, tuple(each.stay_dense(decisions.NO_GAIN) for each in made))


def _store(model: Any, group: Sequence[Decision]) -> None:
    """Writes constants that share their values sparsely."""
    sparse = group[0].sparse
    assert sparse is not None
    model.buffers.append(flatbuffer.make("Buffer", data=sparse.values.view(np.uint8)))
    buffer, sparsity = len(model.buffers) - 1, flatbuffer.sparsity(sparse)
    for decision in group:
        constant = decision.constant
        graph = model.subgraphs[constant.graph]
        if decision.encoding == encodings.NATIVE:
            constant.tensor.buffer, constant.tensor.sparsity = buffer, sparsity
            _set_sparse_version(model, graph, constant.index)
            continue
        # The tensor becomes what DENSIFY writes, so that its readers stay as they are; what
        # DENSIFY reads is a new one.
        stored = copy.copy(constant.tensor)
        stored.buffer, stored.sparsity = buffer, sparsity
        constant.tensor.name += b"/dense"
        ends = [_move_to_front(model, constant.graph, constant.index)]
        if sparse.values.dtype != constant.stored.dtype:
            ends = _bypass(graph, ends[0])
            stored.type = graph.tensors[ends[0]].type
        graph.tensors.append(stored)
        constant.tensor.buffer = 0
        for end in ends:
            densify = flatbuffer.make(
                "Operator",
                opcodeIndex=flatbuffer.opcode(model, "DENSIFY"),
                inputs=np.array([len(graph.tensors) - 1], np.int32),
                outputs=np.array([end], np.int32),
            )
            graph.operators.insert(0, densify)


def _move_to_front(model: Any, number: int, index: int) -> int:
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
        op.inputs, op.outputs = _rename(op.inputs, swap), _rename(op.outputs, swap)
    graph.inputs, graph.outputs = _rename(graph.inputs, swap), _rename(graph.outputs, swap)
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == number:
            for each in [*(signature.inputs or []), *(signature.outputs or [])]:
                each.tensorIndex = swap.get(each.tensorIndex, each.tensorIndex)
    return first


def _rename(numbers: Any, swap: Mapping[int, int]) -> Any:
    return np.array([swap.get(int(each), int(each)) for each in numbers], np.int32)


def _bypass(graph: Any, index: int) -> list[int]:
    """Takes out what widens a tensor, and returns the tensors that were written."""
    widening = [op for op in graph.operators if list(op.inputs) == [index]]
    graph.operators = [op for op in graph.operators if not any(op is each for each in widening)]
    return [int(op.outputs[0]) for op in widening]


def _set_sparse_version(model: Any, graph: Any, index: int) -> None:
    """Gives the readers of a sparse tensor the version of FULLY_CONNECTED that reads blocks."""
    for op in graph.operators:
        if index in list(op.inputs):
            op.opcodeIndex = flatbuffer.opcode(model, "FULLY_CONNECTED", targets.SPARSE_VERSION)


def _empty_unused_buffers(model: Any) -> None:
    """Empties the buffers that nothing refers to any more; their numbers stay."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
