"""Lists how a .tflite file stores its constants: in what form, and in how many bytes."""

import dataclasses
import math
import os
from typing import Any

import numpy as np

from kprune.export._tflite.format import constants, flatbuffer, loading
from kprune.export._tflite.format.constants import Constant

DENSE = "dense"
NATIVE = "native sparse kernel"
DENSIFIED = "densified at load"


@dataclasses.dataclass(frozen=True)
class TensorEncoding:
    """Describes how one constant tensor is stored.

    Args:
        name: the path of the Keras variable that it holds, as `kprune.report` shows it; the
            converter's name where it holds none.
        shape: in TFLite's layout; a Dense kernel is [output, input].
        dtype: the type of the stored values.
        bytes: stored values and, where it is sparse, indices.
        sparsity: the fraction of zeros among all values.
        encoding: "dense"; "native sparse kernel", where an operator reads the sparse form itself;
            "densified at load", where a DENSIFY operator unpacks it once.
        block: the shape of the pieces stored whole, in the same layout; `None` for single values.
        reader: the operator that reads the values, behind DENSIFY and DEQUANTIZE.
        dense_bytes: what the values take in the dense file.
        reason: why a tensor with zeros is dense, where that is known.
        graph: the number of its sub-graph.
        tensor: the converter's name for it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    sparsity: float
    encoding: str
    block: tuple[int, ...] | None = None
    reader: str | None = None
    dense_bytes: int = 0
    reason: str | None = None
    graph: int = 0
    tensor: str = ""

    @property
    def nonzeros(self) -> int:
        """How many of the stored values are not zero."""
        return round((1 - self.sparsity) * math.prod(self.shape))


def read_encodings(path: str | os.PathLike[str]) -> tuple[TensorEncoding, ...]:
    """Lists the constant tensors of a .tflite file, in the order of the file.

    Use it to see what a converter made of a pruned model: zeros alone make no file smaller.

    Args:
        path: a .tflite file.

    Raises:
        ValueError: the file is not a TFLite flatbuffer.

    Example:
        >>> [each.encoding for each in read_encodings("lenet.tflite") if len(each.shape) == 2]
        ['dense', 'dense']
    """
    model = loading.load(path)
    return tuple(_encoding(model, constant) for constant in constants.find(model))


def output_step(path: str | os.PathLike[str]) -> float:
    """Returns the distance between neighbouring output values of a quantized file; else zero.

    An output of probabilities has steps of 1/256, whatever the model: smaller ones are lost.

    Args:
        path: a .tflite file.

    Raises:
        ValueError: the file is not a TFLite flatbuffer.
    """
    graph = loading.load(path).subgraphs[0]
    outputs = {int(output) for output in graph.outputs}
    steps = [0.0]
    for op in graph.operators:
        if outputs & {int(output) for output in op.outputs}:
            sources = [graph.tensors[int(i)] for i in op.inputs[:1] if i >= 0]
            scales = [each.quantization.scale for each in sources if each.quantization is not None]
            steps += [float(scale[0]) for scale in scales if scale is not None and len(scale) == 1]
    return max(steps)


def find_difference(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> str | None:
    """Returns the name of a constant of one file that has another value in a second, if any has.

    Running a file on some inputs may miss a few weights of many; this cannot.

    Args:
        path: a file.
        other: the same model, stored in another way.
    """
    values = [
        {(each.graph, each.name): each.stored for each in constants.find(loading.load(file))}
        for file in (path, other)
    ]
    for key, value in values[0].items():
        other_value = values[1].get(key)
        # Half floats may have been widened; not a number is equal to itself here.
        if other_value is None or not np.array_equal(
            value, other_value, equal_nan=value.dtype.kind == "f"
        ):
            return key[1]
    return next((name for graph, name in values[1] if (graph, name) not in values[0]), None)


def _encoding(model: Any, constant: Constant) -> TensorEncoding:
    total = math.prod(constant.shape)
    is_known = constant.stored.size == total
    nonzero = np.count_nonzero(constant.stored) if is_known else total
    record = TensorEncoding(
        name=constant.name,
        shape=constant.shape,
        dtype=flatbuffer.kind(constant.tensor),
        bytes=constant.stored.nbytes,
        sparsity=1 - int(nonzero) / max(total, 1),
        encoding=DENSE,
        reader=constant.operators[0] if constant.operators else None,
        dense_bytes=constant.stored.nbytes,
        graph=constant.graph,
        tensor=constant.name,
    )
    if constant.tensor.sparsity is None:
        return record
    sparse = flatbuffer.sparse(model, constant.tensor)
    return dataclasses.replace(
        record,
        bytes=sparse.nbytes,
        encoding=DENSIFIED if constant.immediate == ("DENSIFY",) else NATIVE,
        block=sparse.block if math.prod(sparse.block) > 1 else None,
        dense_bytes=constant.stored.nbytes,
    )


def shorten_name(name: str) -> str:
    """Leaves out all but the first of the operators that the converter has fused in one name."""
    return name.split(";")[0].removesuffix("/ReadVariableOp")
