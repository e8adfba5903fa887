"""How a .tflite file stores its constants: which are sparse, in what form, in how many bytes."""

import dataclasses
import math
import os
from typing import Any

import keras
import numpy as np

from kprune.export import _variable_paths
from kprune.export._tflite import constants, flatbuffer
from kprune.export._tflite.constants import Constant

DENSE = "dense"
NATIVE = "native sparse kernel"
DENSIFIED = "densified at load"


@dataclasses.dataclass(frozen=True)
class TensorEncoding:
    """How one constant tensor is stored.

    Args:
        name: the path of the Keras variable that it holds; else the converter's name for it.
        shape: in TFLite's layout; a Dense kernel is [output, input].
        dtype: the type of the stored values.
        bytes: stored values and, where it is sparse, indices.
        sparsity: the fraction of zeros among all values.
        encoding: "dense"; "native sparse kernel", where an operator reads the sparse form itself;
            "densified at load", where a DENSIFY operator unpacks it once.
        block: the shape of the pieces stored whole, in the same layout; `None` for single values.
        reader: the operator that takes the values in, DENSIFY and DEQUANTIZE passed over.
        dense_bytes: what the values take in the dense file.
        reason: why a tensor with zeros is dense, where that is known.
        graph: the number of its sub-graph.
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

    @property
    def nonzeros(self) -> int:
        """How many of the stored values are not zero."""
        return round((1 - self.sparsity) * math.prod(self.shape))


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
    model = flatbuffer.load(path)
    return tuple(_encoding(model, constant) for constant in constants.find(model))


def paths(path: str | os.PathLike[str], model: keras.Model) -> dict[tuple[int, str], str]:
    """Returns the path of the Keras variable that each constant of a file holds, or its own name.

    Args:
        path: the dense .tflite file of the model.
        model: the model.

    Returns:
        By the number of the sub-graph and the converter's name.
    """
    found = list(constants.find(flatbuffer.load(path)))
    names = [constant.name for constant in found]
    arrays = [constant.stored for constant in found]
    held = _variable_paths.paths_in_files(names, model, arrays)
    keys = [(constant.graph, constant.name) for constant in found]
    return dict(zip(keys, held, strict=True))


def step(path: str | os.PathLike[str]) -> float:
    """Returns the distance between neighbouring output values of a quantized file; else zero.

    An output of probabilities has steps of 1/256, whatever the model: smaller ones are lost.

    Args:
        path: a .tflite file.

    Raises:
        ValueError: the file is no TFLite flatbuffer.
    """
    graph = flatbuffer.load(path).subgraphs[0]
    outputs = {int(output) for output in graph.outputs}
    steps = [0.0]
    for op in graph.operators:
        if outputs & {int(output) for output in op.outputs}:
            sources = [graph.tensors[int(i)] for i in op.inputs[:1] if i >= 0]
            scales = [each.quantization.scale for each in sources if each.quantization is not None]
            steps += [float(scale[0]) for scale in scales if scale is not None and len(scale) == 1]
    return max(steps)


def differing(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> str | None:
    """Returns the name of a constant of one file that has another value in a second, if any has.

    Running a file on some inputs may miss a few weights of many; this cannot.

    Args:
        path: a file.
        other: the same model, stored in another way.
    """
    values = [
        {(each.graph, each.name): each.stored for each in constants.find(flatbuffer.load(file))}
        for file in (path, other)
    ]
    for key, value in values[0].items():
        twin = values[1].get(key)
        # Half floats may have been widened; not a number is equal to itself here.
        if twin is None or not np.array_equal(value, twin, equal_nan=value.dtype.kind == "f"):
            return key[1]
    return next((name for graph, name in values[1] if (graph, name) not in values[0]), None)


def _encoding(model: Any, constant: Constant) -> TensorEncoding:
    total = math.prod(constant.shape)
    known = constant.stored.size == total
    nonzero = np.count_nonzero(constant.stored) if known else total
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


def short(names: list[str]) -> list[str]:
    """Leaves out the name of the model, and all but the first of operators fused in one."""
    first = [name.split(";")[0].removesuffix("/ReadVariableOp") for name in names]
    paths = [name for name in first if "/" in name]
    shared = os.path.commonprefix(paths) if len(paths) > 1 else ""
    return [name.removeprefix(shared[: shared.rfind("/") + 1]) for name in first]
