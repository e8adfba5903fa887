"""Checks a .tflite file that may be made to harm, before anything is made of it or read from it.

The format lets many parts of a file refer to one place, so a small file can describe gigabytes, and
its numbers can point anywhere. `check_size` counts what a file describes before it is unpacked into
objects; `check_model` checks every number that is used as an index, and that operators stand in the
order in which they compute, as the interpreters require: so nothing reads what it writes.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kprune.export._tflite.format import flatbuffer

TABLE_BYTES = 1 << 11  # that Python takes for a table of the format, such as a tensor
POSITION_BYTES = 24  # that unpacking takes for a stored position of a sparse tensor
LEAST_LIMIT = 1 << 24  # a description of a model may take this much in any case
MAX_RANK = 32
MAX_DEPTH = 4  # DENSIFY, then DEQUANTIZE, is the most that is known
# How many inputs the rules of `check` read of an operator.
INPUTS = {
    "CONV_2D": 2,
    "DENSIFY": 1,
    "DEPTHWISE_CONV_2D": 2,
    "DEQUANTIZE": 1,
    "FULLY_CONNECTED": 2,
    "MEAN": 1,
    "PAD": 2,
    "PADV2": 2,
}
OPTIONS = {"CONV_2D": "Conv2DOptionsT", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptionsT"}
UNPACKING = ("DENSIFY", "DEQUANTIZE")
KERNEL_RANK = 4


def check_size(content: bytes, limit_bytes: int) -> None:
    """Raises ValueError if a file describes more than a limit, before it is unpacked.

    Args:
        content: of the file.
        limit_bytes: the most that its description, without weights, may take; at least 16 MB.
    """
    limit = max(limit_bytes, LEAST_LIMIT)
    total = 0
    for size in _sizes(flatbuffer.schema().Model.GetRootAs(content, 0)):
        total += size
        if total > limit:
            raise ValueError(
                f"it describes tensors and operators that take more than {limit:,} bytes; expected "
                "less. Write a larger limit_bytes where the file's source is to be trusted."
            )


def check_model(model: Any, limit_bytes: int) -> None:
    """Raises ValueError if a number in a file points to something that is not there.

    Args:
        model: a `ModelT`.
        limit_bytes: the most that its tensors may take, sparse ones unpacked.
    """
    _check(bool(model.subgraphs), "there is no sub-graph")
    codes, types = flatbuffer.names("BuiltinOperator"), flatbuffer.names("TensorType")
    for code in model.operatorCodes:
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        _check(number in codes, f"there is an operator of number {number}")
    size = 0
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _check(
                0 <= tensor.buffer < len(model.buffers), f"a tensor has the buffer {tensor.buffer}"
            )
            _check(tensor.type in types, f"a tensor has the type {tensor.type}")
            tensor.name.decode()
            size += _check_tensor(model, tensor)
        _check_indices("a sub-graph", [*graph.inputs, *graph.outputs], len(graph.tensors), 0)
        for op in graph.operators:
            size += _check_operator(model, graph, op)
        _check_order(model, graph)
    for signature in model.signatureDefs or []:
        number = signature.subgraphIndex
        _check(0 <= number < len(model.subgraphs), f"a signature is of sub-graph {number}")
        entries = [*(signature.inputs or []), *(signature.outputs or [])]
        indices = [entry.tensorIndex for entry in entries]
        _check_indices("a signature", indices, len(model.subgraphs[number].tensors), 0)
    _check(
        size <= max(limit_bytes, LEAST_LIMIT),
        f"the tensors take {size:,} bytes; write limit_bytes={size} where its source is trusted",
    )


def _sizes(model: Any) -> Iterator[int]:
    """Yields what the parts of a packed model would take, each as soon as it is known."""
    lists = "OperatorCodes", "Buffers", "Subgraphs", "SignatureDefs", "Metadata"
    for name in (*lists, "ExternalBuffers", "ExternalBufferGroups"):
        yield TABLE_BYTES * getattr(model, f"{name}Length", lambda: 0)()
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        yield TABLE_BYTES * (graph.TensorsLength() + 2 * graph.OperatorsLength())
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            yield len(tensor.Name() or b"") + TABLE_BYTES * tensor.VariantTensorsLength()
            sparsity = tensor.Sparsity()
            if sparsity is not None:
                yield 3 * TABLE_BYTES * sparsity.DimMetadataLength()
    for number in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(number)
        yield TABLE_BYTES * (signature.InputsLength() + signature.OutputsLength())
        yield from (len(signature.Inputs(i).Name() or b"") for i in range(signature.InputsLength()))
        outputs = range(signature.OutputsLength())
        yield from (len(signature.Outputs(i).Name() or b"") for i in outputs)
    yield from (len(model.Metadata(i).Name() or b"") for i in range(model.MetadataLength()))
    codes = range(model.OperatorCodesLength())
    yield from (len(model.OperatorCodes(i).CustomCode() or b"") for i in codes)


def _check_tensor(model: Any, tensor: Any) -> int:
    """Checks the shape of a constant against its data; returns what its lists and values take."""
    shape, name = flatbuffer.shape(tensor), tensor.name.decode()
    size = _count_bytes(tensor) + _count_bytes(tensor.quantization)
    stored = model.buffers[tensor.buffer].data
    if tensor.sparsity is None and (stored is None or not len(stored)):
        return size
    _check(len(shape) <= MAX_RANK, f"{name!r:.100} has {len(shape)} axes")
    _check(all(length >= 0 for length in shape), f"{name!r:.100} has the shape {shape}")
    dense = math.prod(shape) * flatbuffer.dtype(tensor).itemsize
    if tensor.sparsity is not None:
        return size + dense + _count_positions(tensor)
    if flatbuffer.is_plain(tensor):
        _check(len(stored) == dense, f"{name!r:.100} has {len(stored)} bytes of {dense}")
    return size + len(stored)  # of each that shares them: each is looked at


def _count_positions(tensor: Any) -> int:
    """Checks the lists of a sparse tensor; returns what unpacking takes beside the values."""
    sparsity, rank = tensor.sparsity, len(flatbuffer.shape(tensor))
    levels = sparsity.dimMetadata or []
    order, blocked = sparsity.traversalOrder, sparsity.blockMap
    name = tensor.name.decode()
    count = 0 if blocked is None else len(blocked)
    _check(
        order is not None and len(order) == len(levels) == rank + count,
        f"the levels of {name!r:.100} do not fit its shape",
    )
    if blocked is not None:
        _check_indices(f"the block map of {name!r:.100}", blocked, rank, 0)
    positions = largest = 1
    size = _count_bytes(sparsity)
    for level in levels:
        if level.format == 0:
            _check(level.denseSize > 0 or positions == 0, f"a level of {name!r:.100} has no length")
            positions *= level.denseSize
        else:
            lists = level.arraySegments, level.arrayIndices
            _check(
                all(hasattr(each, "values") for each in lists),
                f"a level of {name!r:.100} has no lists",
            )
            size += sum(_count_bytes(each) for each in lists)
            values = level.arrayIndices.values
            positions = 0 if values is None else len(values)
        largest = max(largest, positions)
    return size + POSITION_BYTES * largest


def _check_operator(model: Any, graph: Any, op: Any) -> int:
    """Checks the numbers and the form of an operator; returns what its lists take."""
    _check(
        0 <= op.opcodeIndex < len(model.operatorCodes), f"an operator has the code {op.opcodeIndex}"
    )
    name = flatbuffer.operator(model, op)
    _check_indices(name, [*op.inputs, *op.outputs], len(graph.tensors), -1)
    if name in INPUTS:
        needed = op.inputs[: INPUTS[name]]
        _check(len(needed) == INPUTS[name] and len(op.outputs) > 0, f"{name} is without tensors")
        _check_indices(name, [*needed, op.outputs[0]], len(graph.tensors), 0)
    if name in UNPACKING:
        _check((len(op.inputs), len(op.outputs)) == (1, 1), f"{name} unpacks several tensors")
    if name in OPTIONS:
        _check(type(op.builtinOptions).__name__ == OPTIONS[name], f"{name} is without options")
        shapes = [flatbuffer.shape(graph.tensors[int(index)]) for index in op.inputs[:2]]
        _check(all(len(each) == KERNEL_RANK for each in shapes), f"{name} has the shapes {shapes}")
    return _count_bytes(op) + _count_bytes(op.builtinOptions)


def _check_order(model: Any, graph: Any) -> None:
    """Checks that operators read what was computed before, and write what holds no data."""
    writers: dict[int, int] = {}
    depths: dict[int, int] = {}  # how often a constant has been unpacked
    for place, op in enumerate(graph.operators):
        for index in map(int, op.outputs):
            if index < 0:
                continue
            _check(index not in writers, f"two operators write tensor {index}")
            has_data = flatbuffer.data(model, graph.tensors[index]) is not None
            _check(not has_data, f"tensor {index} is constant, and written")
            writers[index] = place
    for place, op in enumerate(graph.operators):
        for index in map(int, op.inputs):
            _check(writers.get(index, -1) < place, f"tensor {index} is read before it is written")
        if flatbuffer.operator(model, op) in UNPACKING:
            depth = depths.get(int(op.inputs[0]), 0) + 1
            depths[int(op.outputs[0])] = depth
            _check(depth <= MAX_DEPTH, f"{depth} operators unpack a constant in turn")


def _check_indices(what: str, indices: Any, count: int, least: int) -> None:
    values = np.asarray(indices, np.int64)
    inside = (values >= least) & (values < count)
    _check(bool(inside.all()), f"{what} refers to more than there is, {count}")


def _count_bytes(table: Any) -> int:
    """Returns the bytes of the lists of numbers in a table."""
    lists = vars(table).values() if table is not None else ()
    return sum(each.nbytes for each in lists if isinstance(each, np.ndarray))


def _check(holds: bool, finding: str) -> None:
    if not holds:
        raise ValueError(finding)
