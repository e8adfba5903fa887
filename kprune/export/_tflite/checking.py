"""Predicts what a .tflite file of a model will gain from zeros, before they are there."""

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kprune._keras import backend
from kprune._masking import wrapping
from kprune._support import registration, signatures, validation
from kprune._support.typing import Array
from kprune.export import _frame
from kprune.export._inputs import examples
from kprune.export._reading import keras_file
from kprune.export._tflite import naming, preparation, sparsification
from kprune.export._tflite.check_report import CheckReport, WeightCheck
from kprune.export._tflite.conversion import Precision
from kprune.export._tflite.format import constants, encodings, flatbuffer, loading
from kprune.export._tflite.format.constants import Constant
from kprune.export._tflite.rules import decisions, placement, targets
from kprune.export._tflite.rules.decisions import Decision

MIN_SIZE = 1024  # constants with fewer values are not listed


@signatures.explained
def check(
    model: keras.Model | str | os.PathLike[str],
    target: targets.Name = "size",
    quantization: Precision = None,
    *,
    sparsity: float = 0.9,
    batch_size: int | None = None,
    threads: int = 1,
    input_signature: Any = None,
    limit_bytes: int = loading.LIMIT,
) -> CheckReport:
    """Predicts which weights of a model will be smaller, and which faster on a target, and why.

    Use it before training: which layers are worth pruning, with which pattern, and whether
    the network has to be built otherwise. The decisions are those by which `to_tflite` writes.
    Weights that have zeros are taken as they are; others as if their smallest values were zero, in
    blocks where a kernel of the target reads these. No file is run: speed is predicted from the
    measurements behind the rules.

    Args:
        model: a built Keras model, or the path of a .tflite or .keras file.
        target: "size", "x86" or "arm", as in `to_tflite`.
        quantization: as in `to_tflite`; a .tflite file has its own.
        sparsity: the fraction of zeros to assume where there are none. Default: 0.9.
        batch_size: the fixed batch. Default: free.
        threads: of the interpreter. Default: 1.
        input_signature: as in `to_tflite`.
        limit_bytes: the most that a file, what it describes, and its tensors, sparse ones unpacked,
            may each take. Reading takes a few times that. Default: 2 GiB.

    Raises:
        TypeError: the model is not a Keras 3 model.
        ValueError: an argument is not one of those above, or the file is not a sound TFLite or
            Keras file, takes more than the limit, or names code.
        OSError: there is no such file.
        ExportError: the model cannot be converted.

    Example:
        >>> print(kprune.export.check(model, "arm"))
    """
    backend.require_tensorflow("kprune.export.check")
    targets.check_target(target, threads)
    registration.validate_sparsity(sparsity, "sparsity")
    preparation.check_arguments(quantization, (), batch_size, "model.tflite")
    if isinstance(model, (str, os.PathLike)):
        validation.require_file(model, 'kprune.export.to_tflite(model, "model.tflite")')
    name = str(getattr(model, "name", model))
    aim = targets.Target(target, batch_size, threads)
    if isinstance(model, (str, os.PathLike)) and os.fspath(model).endswith(".keras"):
        model = keras_file.load(model, limit_bytes)
    paths: Mapping[tuple[int, str], str] = {}
    if isinstance(model, (str, os.PathLike)):
        converted, precision = loading.load(model, limit_bytes), None
        content = Path(model).read_bytes()
    else:
        content, paths = _convert(model, quantization, batch_size, input_signature)
        converted, precision = flatbuffer.parse(content), quantization
    if _assume_zeros(converted, sparsity, aim) and not _is_sparse(converted):
        content = flatbuffer.pack(converted)
    return CheckReport(
        name=name,
        target=target,
        quantization=precision,
        weights=tuple(
            _describe(decision, paths)
            for decision in _decide(converted, content, aim, paths)
            if decision.constant.stored.size >= MIN_SIZE
            and len(decision.constant.shape) > 1
            and decision.constant.readers
        ),
    )


def _decide(
    model: Any, content: bytes, target: targets.Target, paths: Mapping[tuple[int, str], str]
) -> Sequence[Decision]:
    """Returns the decisions by which `to_tflite` would write a file."""
    if _is_sparse(model):
        return decisions.decide(model, target)  # it has been written before
    return sparsification.rewrite(content, target, paths=paths).decisions


def _is_sparse(model: Any) -> bool:
    return any(tensor.sparsity is not None for graph in model.subgraphs for tensor in graph.tensors)


def _convert(
    model: Any, quantization: Precision, batch_size: int | None, input_signature: Any
) -> tuple[bytes, Mapping[tuple[int, str], str]]:
    """Returns a dense file, and the paths of the variables that its constants hold.

    Integers are calibrated on drawn inputs: the weights do not depend on them.
    """
    _frame.check_model(model)
    with (
        tempfile.TemporaryDirectory() as scratch,
        wrapping.stripped(model) as plain,
        preparation.computing_in_float32(plain),
    ):
        conversion = preparation.prepare_conversion(
            plain, scratch, "model.tflite", quantization, None, batch_size, input_signature
        )
        drawn = examples.batches(conversion.signature, None)[:1]
        content = dataclasses.replace(conversion, rows=drawn).convert()
        return content, naming.name_constants(flatbuffer.parse(content), plain)


def _assume_zeros(model: Any, sparsity: float, target: targets.Target) -> bool:
    """Sets the smallest values of weights without zeros to zero; returns whether there are any."""
    assumed = [
        constant
        for constant in constants.find(model)
        if len(constant.shape) > 1
        and constant.readers
        and constant.tensor.sparsity is None
        and str(constant.stored.dtype) in placement.TYPES
        and decisions.count_zeros(constant) < decisions.FEW_ZEROS
    ]
    for constant in assumed:
        values = _prune(constant.stored, sparsity, _block_size(constant, sparsity, target))
        model.buffers[constant.tensor.buffer].data = values.view(np.uint8).ravel()
    return bool(assumed)


def _block_size(constant: Constant, sparsity: float, target: targets.Target) -> int:
    """Returns how many neighbours are to be zero together, for a kernel to read the rest."""
    kind, shape = str(constant.stored.dtype), constant.shape
    if (
        placement.is_direct(constant)
        and target.find_obstacle(shape, kind, targets.is_hybrid(constant)) is None
        and sparsity >= target.least(shape, kind)
    ):
        return targets.BLOCKS[kind]
    return 1


def _prune(values: Array, sparsity: float, block: int) -> Array:
    """Returns weights with their smallest blocks, along the last axis, set to zero."""
    blocks = values.reshape(-1, block).copy()
    with np.errstate(all="ignore"):  # a file may hold any bits for numbers
        magnitudes = np.abs(blocks.astype(np.float32)).sum(1)
    count = round(sparsity * len(blocks))
    blocks[np.argpartition(magnitudes, max(count - 1, 0))[:count]] = 0
    return blocks.reshape(values.shape)


def _describe(decision: Decision, paths: Mapping[tuple[int, str], str]) -> WeightCheck:
    """Describes a decision in the user's terms."""
    constant = decision.constant
    is_dense = decision.encoding == encodings.DENSE
    return WeightCheck(
        name=paths.get(decision.key, constant.name),
        encoding=decision.encoding,
        reader=constant.operators[0],
        shape=constant.shape,
        zeros=decisions.count_zeros(constant),
        dense_bytes=constant.stored.nbytes,
        bytes=decision.bytes,
        larger=decision.reason or (decisions.NO_GAIN if is_dense else None),
        slower=decision.slower,
        condition=decision.condition,
    )
