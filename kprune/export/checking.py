"""What a .tflite file of a model will gain from zeros, before they are there."""

import dataclasses
import os
import tempfile
from typing import Any

import keras
import numpy as np

from kprune._masking import wrapping
from kprune._support import registration
from kprune._support.typing import Array
from kprune.export import _variable_paths, examples, preparation, saved_model
from kprune.export._tflite import (
    constants,
    encoder,
    flatbuffer,
    placement,
    pointwise,
    sparsification,
    targets,
)
from kprune.export._tflite.constants import Constant
from kprune.export.check_report import CheckReport, WeightCheck

WEIGHTS = 1024  # constants with fewer values are not listed


def check(
    model: Any,
    target: targets.Name = "size",
    quantization: str | None = None,
    *,
    sparsity: float = 0.9,
    batch_size: int | None = None,
    threads: int = 1,
    input_signature: Any = None,
) -> CheckReport:
    """Says what of a model will be smaller and what faster on a target, and what keeps it from it.

    Use it before training: which layers are worth pruning, with which pattern, and whether
    the network has to be built otherwise. Weights that have zeros are taken as they are; others as
    if their smallest values were zero. Nothing is run, so it promises no more than the measurements
    behind the rules of `to_tflite`.

    Args:
        model: a built Keras model, or the path of a .tflite or .keras file.
        target: "size", "x86" or "arm", as in `to_tflite`.
        quantization: as in `to_tflite`; of a .tflite file its own counts.
        sparsity: the fraction of zeros to reckon with where there are none. Default: 0.9.
        batch_size: the fixed batch. Default: free.
        threads: of the interpreter. Default: 1.
        input_signature: as in `to_tflite`.

    Raises:
        TypeError: the model is no Keras 3 model.
        ValueError: an argument is not one of those above, or the file is no TFLite file.
        OSError: there is no such file.
        ExportError: the model cannot be converted.

    Example:
        >>> print(kprune.export.check(model, "arm"))
    """
    targets.check(target, threads)
    registration.validate_sparsity(sparsity, "sparsity")
    name = str(getattr(model, "name", model))
    if isinstance(model, (str, os.PathLike)) and os.fspath(model).endswith(".keras"):
        model = keras.saving.load_model(model, compile=False)
    if isinstance(model, (str, os.PathLike)):
        held = flatbuffer.load(model)
        precision = None
    else:
        held = flatbuffer.parse(_converted(model, quantization, batch_size, input_signature))
        precision = quantization
    aim = targets.Target(target, batch_size, threads)
    found = pointwise.hindrances(held)
    fatal = pointwise.fatal(held, sparsity)
    weights = [
        constant
        for constant in constants.find(held)
        if constant.stored.size >= WEIGHTS and len(constant.shape) > 1 and constant.readers
    ]
    names = [constant.name for constant in weights]
    if isinstance(model, keras.Model):
        arrays = [constant.stored for constant in weights]
        names = _variable_paths.paths_in_files(names, model, arrays)
    return CheckReport(
        name=name,
        target=target,
        quantization=precision,
        weights=tuple(
            dataclasses.replace(_weight(each, aim, sparsity, found, fatal), name=path)
            for each, path in zip(weights, names, strict=True)
        ),
    )


def _converted(model: Any, quantization: str | None, batch_size: int | None, given: Any) -> bytes:
    """Returns a dense file; integers are calibrated on drawn inputs, for the structure alone."""
    saved_model.check(model)
    preparation.check(quantization, (), batch_size, "model.tflite")
    with (
        tempfile.TemporaryDirectory() as scratch,
        wrapping.stripped(model) as plain,
        preparation.in_float32(plain),
    ):
        export = preparation.conversion_of(
            plain, scratch, "model.tflite", quantization, None, batch_size, given
        )
        drawn = examples.batches(export.signature, None)[:1]
        return dataclasses.replace(export, rows=drawn).convert()


def _weight(
    constant: Constant,
    target: targets.Target,
    sparsity: float,
    found: dict[tuple[int, int], str | None],
    fatal: str | None,
) -> WeightCheck:
    values = constant.stored
    zeros = 1 - int(np.count_nonzero(values)) / values.size
    pruned = zeros >= sparsification.DISPENSABLE
    if not pruned:
        values = _pruned(values, sparsity)
        zeros = sparsity
    slower, condition = _speed(constant, target, zeros, found)
    stored, larger = (values.nbytes, fatal) if fatal else _bytes(constant, values)
    if fatal:
        slower, condition = slower or fatal, None
    elif larger is not None and condition is not None and placement.direct(constant):
        # Integer matrices are sparse in blocks alone, for the kernel that reads these.
        block = targets.BLOCKS[str(values.dtype)]
        empty = targets.blocks_of_zeros(values, block) if pruned else zeros
        if empty >= target.least(values.shape, str(values.dtype)) - targets.ROUNDING:
            stored, larger = round(values.nbytes * (1 - empty) * (1 + 2 / block)), None
    return WeightCheck(
        name=constant.name,
        reader=constant.operators[0],
        shape=constant.shape,
        zeros=zeros,
        dense_bytes=values.nbytes,
        bytes=stored,
        larger=larger,
        slower=slower,
        condition=condition,
    )


def _bytes(constant: Constant, values: Array) -> tuple[int, str | None]:
    """Returns the bytes of the smallest encoding that DENSIFY unpacks, or why there is none."""
    if (cause := placement.obstacle(constant, str(values.dtype))) is not None:
        return values.nbytes, cause
    sparse = encoder.smallest(values.astype(np.float32) if placement.widened(constant) else values)
    if sparse is None or sparse.nbytes + sparsification.OVERHEAD >= values.nbytes:
        return values.nbytes, sparsification.NO_GAIN
    return sparse.nbytes, None


def _speed(
    constant: Constant,
    target: targets.Target,
    zeros: float,
    found: dict[tuple[int, int], str | None],
) -> tuple[str | None, str | None]:
    """Returns what keeps a weight from being faster, or what makes it so."""
    kind = flatbuffer.kind(constant.tensor)
    if placement.direct(constant):
        reason = target.hindrance(constant.shape, kind, targets.hybrid(constant))
        if reason is not None:
            return reason, None
        least, block = target.least(constant.shape, kind), targets.BLOCKS[kind]
        name = "tflite_float32" if kind == "float32" else "tflite_dynamic"
        return None, f'from {least:.0%} zeros in blocks of {block}: wrap(model, pattern="{name}")'
    if constant.operators != ("CONV_2D",) or (constant.graph, constant.index) not in found:
        return (
            f"no sparse kernel for {', '.join(constant.operators)} in this form or precision",
            None,
        )
    if target.name == "x86":
        return "XNNPACK's sparse convolutions are off on x86 processors with AVX", None
    if kind == "int8":
        return "XNNPACK's sparse convolutions are for float32 and float16", None
    reason = found[constant.graph, constant.index]
    if reason is None and zeros <= pointwise.ZEROS:
        reason = f"with {zeros:.0%} zeros it does not have more than two thirds"
    if reason is not None:
        return reason, None
    return None, "on ARM, with more than two thirds of zeros over all 1x1 convolutions"


def _pruned(values: Array, sparsity: float) -> Array:
    """Returns weights with their smallest values set to zero."""
    magnitudes = np.abs(values.astype(np.float32)).ravel()
    count = round(sparsity * magnitudes.size)
    pruned = values.ravel().copy()
    pruned[np.argpartition(magnitudes, max(count - 1, 0))[:count]] = 0
    return pruned.reshape(values.shape)
