"""How a .tflite file stores its constants: which are sparse, in what form, in how many bytes."""

import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

DENSE = "dense"
NATIVE = "native sparse kernel"
DENSIFIED = "densified at load"


@dataclasses.dataclass(frozen=True)
class TensorEncoding:
    """How one constant tensor is stored.

    Args:
        name: the converter's name for it.
        shape: in TFLite's layout; a Dense kernel is [output, input].
        dtype: the type of the stored values.
        bytes: stored values and, where it is sparse, indices.
        sparsity: the fraction of zeros among all values.
        encoding: "dense"; "native sparse kernel", where an operator reads the sparse form itself;
            "densified at load", where a DENSIFY operator unpacks it once.
        block: the shape of the pieces stored whole, in the same layout; `None` for single values.
        reader: the operator that takes the values in, DENSIFY and DEQUANTIZE passed over.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    sparsity: float
    encoding: str
    block: tuple[int, ...] | None = None
    reader: str | None = None

    @property
    def nonzeros(self) -> int:
        """How many of the stored values are not zero."""
        return round((1 - self.sparsity) * math.prod(self.shape))

    @property
    def ragged(self) -> bool:
        """Whether the shape is no multiple of the block."""
        return any(n % size for n, size in zip(self.shape, self.block or self.shape, strict=True))


def read(path: str | os.PathLike[str]) -> tuple[TensorEncoding, ...]:
    """Lists the constant tensors of a .tflite file, in the order of the file.

    Use it to see what a converter made of a pruned model: zeros alone make no file smaller.

    Args:
        path: a .tflite file.

    Raises:
        ValueError: the file is no TFLite flatbuffer.

    Example:
        >>> [each.encoding for each in read("lenet.tflite") if len(each.shape) == 2]
        ['dense', 'dense']
    """
    model = _model(path)
    found = []
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        readers = _readers(model, graph)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            buffer = model.Buffers(tensor.Buffer())
            # A sparse tensor may have no value left to store, and then it has no data.
            if buffer.DataLength() or tensor.Sparsity() is not None:
                data = buffer.DataAsNumpy() if buffer.DataLength() else np.empty(0, np.uint8)
                found.append(_encoding(tensor, data, index, readers))
    return tuple(found)


def step(path: str | os.PathLike[str]) -> float:
    """Returns the distance between neighbouring output values of a quantized file; else zero.

    An output of probabilities has steps of 1/256, whatever the model: smaller ones are lost.

    Args:
        path: a .tflite file.

    Raises:
        ValueError: the file is no TFLite flatbuffer.
    """
    graph = _model(path).Subgraphs(0)
    outputs = {int(output) for output in graph.OutputsAsNumpy()}
    steps = [0.0]
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        if outputs & {int(output) for output in operator.OutputsAsNumpy()}:
            sources = [graph.Tensors(int(i)) for i in operator.InputsAsNumpy()[:1] if i >= 0]
            scales = [tensor.Quantization() for tensor in sources]
            steps += [float(q.Scale(0)) for q in scales if q is not None and q.ScaleLength() == 1]
    return max(steps)


def _encoding(
    tensor: Any, data: Any, index: int, readers: dict[int, list[tuple[str, tuple[int, ...]]]]
) -> TensorEncoding:
    dtype = _names("TensorType")[tensor.Type()].lower()
    shape = () if tensor.ShapeIsNone() else tuple(int(n) for n in tensor.ShapeAsNumpy())
    total = math.prod(shape)
    ends = _ends(index, readers)
    record = TensorEncoding(
        name=tensor.Name().decode(),
        shape=shape,
        dtype=dtype,
        bytes=len(data),
        sparsity=1 - _nonzero(data, dtype, total) / max(total, 1),
        encoding=DENSE,
        reader=ends[0] if ends else None,
    )
    sparse = tensor.Sparsity()
    if sparse is None:
        return record
    first = {name for name, _ in readers.get(index, ())}
    levels = [sparse.DimMetadata(i) for i in range(sparse.DimMetadataLength())]
    return dataclasses.replace(
        record,
        bytes=len(data) + sum(_index_bytes(level) for level in levels),
        encoding=DENSIFIED if first == {"DENSIFY"} else NATIVE,
        block=_block(sparse, levels, shape),
    )


def _block(sparse: Any, levels: list[Any], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Returns the block's shape; the levels of the blocks come after those of the axes."""
    axes = [] if sparse.BlockMapIsNone() else [int(axis) for axis in sparse.BlockMapAsNumpy()]
    block = [1] * len(shape)
    for position, axis in enumerate(axes):
        block[axis] = levels[len(shape) + position].DenseSize()
    return tuple(block) if math.prod(block) > 1 else None


def _nonzero(data: Any, dtype: str, total: int) -> int:
    """Counts values other than zero; 4-bit types and strings count as all other."""
    if dtype == "bfloat16":
        return int(np.count_nonzero(data.view(np.uint16) & 0x7FFF))  # the sign of zero is no value
    try:
        return int(np.count_nonzero(data.view(np.dtype(dtype))))
    except (TypeError, ValueError):
        return total


def _readers(model: Any, graph: Any) -> dict[int, list[tuple[str, tuple[int, ...]]]]:
    """Maps each tensor of a graph to the operators that read it, with their outputs."""
    names = _names("BuiltinOperator")
    readers: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        # Codes beyond 127 did not fit the first field; the larger of the two is the code.
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        outputs = tuple(int(operator.Outputs(i)) for i in range(operator.OutputsLength()))
        for position in range(operator.InputsLength()):
            readers.setdefault(int(operator.Inputs(position)), []).append((name, outputs))
    return readers


def _ends(index: int, readers: dict[int, list[tuple[str, tuple[int, ...]]]]) -> list[str]:
    """Returns the operators that use a constant once it is unpacked."""
    ends = []
    for name, outputs in readers.get(index, ()):
        if name in ("DENSIFY", "DEQUANTIZE"):
            ends += [end for output in outputs for end in _ends(output, readers)]
        else:
            ends.append(name)
    return ends


def _index_bytes(level: Any) -> int:
    vectors = (
        _vector(level.ArraySegmentsType(), level.ArraySegments()),
        _vector(level.ArrayIndicesType(), level.ArrayIndices()),
    )
    return sum(vector.nbytes for vector in vectors if vector is not None)


def _vector(kind: int, table: Any) -> Any:
    """Returns an index vector of the flatbuffer, which is a union of three widths, as an array."""
    if table is None:
        return None
    vector = getattr(_schema(), _names("SparseIndexVector")[kind])()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy()


def _model(path: str | os.PathLike[str]) -> Any:
    content = Path(path).read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(
            f"{path} starts with {content[:8]!r}; expected a TFLite file, with TFL3 at byte 4. "
            f'Write one with kprune.export.to_tflite(model, "{path}").'
        )
    return _schema().Model.GetRootAs(content, 0)


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    """Maps the codes of one of the schema's enumerations to their names."""
    names = vars(getattr(_schema(), enumeration))
    return {code: name for name, code in names.items() if isinstance(code, int)}


def _schema() -> Any:
    # TensorFlow's generated reader of the format: a megabyte of Python, read only when needed.
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated
