"""Reads and writes the .tflite format through TensorFlow's own schema."""

import functools
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from kprune._support.typing import Array
from kprune.export._tflite.format.sparse_array import Level, SparseArray

ALIGNMENT = 16  # of tensor data in the file: kernels read it in place, in vectors


def parse(content: bytes) -> Any:
    """Returns the `ModelT` of a file's content."""
    model = schema().ModelT.InitFromPackedBuf(content)
    # What is empty may be left out, such as the inputs of an operator or a graph.
    for name in ("subgraphs", "operatorCodes", "buffers"):
        setattr(model, name, getattr(model, name) or [])
    for each in [each for graph in model.subgraphs for each in (graph, *(graph.operators or []))]:
        for side in ("inputs", "outputs"):
            if getattr(each, side) is None:
                setattr(each, side, np.empty(0, np.int32))
    for graph in model.subgraphs:
        graph.operators, graph.tensors = graph.operators or [], graph.tensors or []
        for tensor in graph.tensors:
            tensor.name = tensor.name or b""
    return model


def pack(model: Any) -> bytes:
    """Returns the content of a file; what the model has once is written once."""
    builder = flatbuffers.Builder(1024)
    model.buffers = [_aligned(buffer) for buffer in model.buffers]
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def data(model: Any, tensor: Any) -> Array | None:
    """Returns the stored values of a constant tensor as a flat array; `None` for others.

    Strings and 4-bit numbers come as bytes.
    """
    stored = model.buffers[tensor.buffer].data
    if stored is None or not len(stored):
        # A sparse tensor may have no value left to store, and then it has no data.
        return None if tensor.sparsity is None else np.empty(0, dtype(tensor))
    content, form = np.frombuffer(stored, np.uint8), dtype(tensor)
    return content if len(content) % form.itemsize else content.view(form)


def kind(tensor: Any) -> str:
    """Returns the name of a tensor's type, as NumPy has it where it has it."""
    return names("TensorType")[tensor.type].lower()


def is_plain(tensor: Any) -> bool:
    """Returns whether NumPy has a type for the values of a tensor, which then fill whole bytes."""
    return kind(tensor) == "bfloat16" or dtype(tensor).name == kind(tensor)


def dtype(tensor: Any) -> np.dtype[Any]:
    """Returns NumPy's type for the values of a tensor; bytes where it has none."""
    name = kind(tensor)
    try:
        return np.dtype({"bfloat16": "uint16"}.get(name, name))
    except TypeError:
        return np.dtype(np.uint8)


def shape(tensor: Any) -> tuple[int, ...]:
    """Returns the shape of a tensor."""
    return () if tensor.shape is None else tuple(int(n) for n in tensor.shape)


def operator(model: Any, op: Any) -> str:
    """Returns the name of an operator."""
    code = model.operatorCodes[op.opcodeIndex]
    # Codes beyond 127 did not fit the first field; the larger of the two is the code.
    return names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]


def opcode(model: Any, name: str, version: int = 1) -> int:
    """Returns the index of an operator in the model's table, a new entry where it has none."""
    code = getattr(schema().BuiltinOperator, name)
    for index, entry in enumerate(model.operatorCodes):
        if (max(entry.builtinCode, entry.deprecatedBuiltinCode), entry.version) == (code, version):
            return index
    fields = {"deprecatedBuiltinCode": min(code, 127), "version": version, "builtinCode": code}
    model.operatorCodes.append(make("OperatorCode", **fields))
    return len(model.operatorCodes) - 1


def sparsity(sparse: SparseArray) -> Any:
    """Returns the `SparsityParametersT` of a sparse array, without its values."""
    levels = []
    for level in sparse.levels:
        if level.starts is None or level.indices is None:
            levels.append(make("DimensionMetadata", denseSize=level.size))
            continue
        starts, indices = _vector(level.starts), _vector(level.indices)
        level_fields = {"arraySegmentsType": starts[0], "arraySegments": starts[1]}
        level_fields |= {"arrayIndicesType": indices[0], "arrayIndices": indices[1]}
        levels.append(make("DimensionMetadata", format=1, **level_fields))
    fields = {
        "traversalOrder": np.array(sparse.order, np.int32),
        "blockMap": np.array(sparse.blocked, np.int32),
        "dimMetadata": levels,
    }
    return _fill(_once(schema().SparsityParametersT)(), fields)


def sparse(model: Any, tensor: Any) -> SparseArray:
    """Returns a sparse tensor as a sparse array."""
    parameters = tensor.sparsity
    block_map = parameters.blockMap
    blocked = () if block_map is None else tuple(int(axis) for axis in block_map)
    levels = [
        Level(level.denseSize)
        if level.format == 0
        else Level(0, _numbers(level.arraySegments), _numbers(level.arrayIndices))
        for level in parameters.dimMetadata
    ]
    values = data(model, tensor)
    assert values is not None
    order = tuple(int(axis) for axis in parameters.traversalOrder)
    return SparseArray(shape(tensor), order, blocked, tuple(levels), values)


@functools.cache
def names(enumeration: str) -> dict[int, str]:
    """Maps the codes of one of the schema's enumerations to their names."""
    members = vars(getattr(schema(), enumeration))
    return {code: name for name, code in members.items() if isinstance(code, int)}


def schema() -> Any:
    """Returns TensorFlow's generated schema: a megabyte of Python, read only when needed."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def make(name: str, /, **fields: Any) -> Any:
    """Returns a new object of the schema; its constructor takes no fields in older TensorFlow."""
    return _fill(getattr(schema(), f"{name}T")(), fields)


def _fill(made: Any, fields: Mapping[str, Any]) -> Any:
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def _vector(numbers: Array) -> tuple[int, Any]:
    kinds = schema()
    name = {1: "Uint8Vector", 2: "Uint16Vector", 4: "Int32Vector"}[numbers.itemsize]
    return getattr(kinds.SparseIndexVector, name), make(name, values=numbers)


def _numbers(vector: Any) -> Array:
    values = None if vector is None else vector.values
    return np.empty(0, np.int32) if values is None else np.asarray(values)


def _aligned(buffer: Any) -> Any:
    """Returns a buffer whose data begin at a multiple of 16 bytes; Python's builder takes 4."""

    class Aligned(schema().BufferT):  # type: ignore[misc, valid-type]
        data: Any

        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            if self.data is not None:
                self.data = np.frombuffer(self.data, np.uint8)
                builder.Prep(ALIGNMENT, len(self.data))
            return super().Pack(builder)

    return _fill(Aligned(), vars(buffer))


def _once(kind: Any) -> Any:
    """Returns a class whose instances write themselves once: tensors may share what they hold."""

    class Once(kind):  # type: ignore[misc, valid-type]
        written: tuple[Any, Any] | None = None

        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            if self.written is None or self.written[0] is not builder:
                self.written = (builder, super().Pack(builder))
            return self.written[1]

    return Once
