"""Checks the arguments of a TFLite export, and prepares the model for its conversion."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import keras

from kprune._keras import models, walk
from kprune._support import validation
from kprune.export import _frame, _keras_export, _verification
from kprune.export._inputs import examples, inspection
from kprune.export._tflite import conversion, trial

OTHER_NAMES = {  # of other packages
    "8": "int8",
    "16": "float16",
    "dynamic_range": "dynamic",
    "fp16": "float16",
    "half": "float16",
    "int8_dynamic": "dynamic",
    "uint8": "int8",
    "weight_only": "dynamic",
}


def check_arguments(quantization: Any, data: Any, batch_size: Any, path: Any) -> None:
    """Raises ValueError if an argument of `to_tflite` is invalid."""
    known = quantization is None or isinstance(quantization, str)
    if not known or quantization not in trial.TOLERANCES:
        near: Any = OTHER_NAMES.get(str(quantization).lower()) or validation.nearest(
            quantization, [each for each in trial.TOLERANCES if each]
        )
        raise ValueError(
            f'quantization={validation.describe(quantization)}; expected None, "float16", '
            '"dynamic", "int8" or "int16x8". '
            f"Write {conversion.format_call(path, near or 'dynamic')}."
        )
    if quantization in conversion.CALIBRATED and data is None:
        raise ValueError(
            f'quantization="{quantization}" came without representative_data; expected some '
            "inputs on which to measure the range of the activations. "
            f"Write {conversion.format_call(path, quantization)}."
        )
    call = f"kprune.export.to_tflite(model, {os.fspath(path)!r}, batch_size=1)"
    _frame.check_batch_size(batch_size, call)


def check_weights(model: keras.Model) -> None:
    """Raises ExportError for a model that Keras has quantized, which TFLite cannot convert."""
    quantized = [each.name for each in walk.layers(model) if models.quantization(each) is not None]
    if quantized:
        raise _verification.ExportError(
            f"{', '.join(quantized)} of {model.name} hold weights that Keras has quantized, which "
            "TFLite's operators do not take; expected float weights, which TFLite quantizes "
            'itself. Write to_tflite(model, path, "dynamic") before model.quantize.'
        )


def prepare_conversion(
    model: keras.Model,
    directory: str,
    path: str | os.PathLike[str],
    quantization: conversion.Precision,
    data: Any,
    batch_size: int | None,
    input_signature: Any,
) -> conversion.Conversion:
    """Writes a plain model as a SavedModel, and returns its conversion to a .tflite file.

    Args:
        model: without masks, computing in float32.
        directory: for the SavedModel.
        path: where the file is to be; for messages alone.
        quantization: as in `to_tflite`.
        data: representative data, or `None`.
        batch_size: as in `to_tflite`.
        input_signature: as in `to_tflite`.

    Raises:
        ExportError: a layer keeps it from being converted.
    """
    check_weights(model)
    looping = find_loops(model)
    if looping and quantization in conversion.CALIBRATED:
        raise _verification.ExportError(
            f"{', '.join(looping)} of {model.name} loop over time, and TensorFlow's calibration "
            f'for "{quantization}" crashes the process on such a loop; expected a model without, '
            f"or layers made with unroll=True. Write {conversion.format_call(path, 'dynamic')}."
        )
    if looping and batch_size is None:
        batch_size = 1
    signature = inspection.find_signature(model, input_signature, batch_size)
    rows = None if data is None else examples.read_examples(signature, data)
    saved = os.path.join(directory, "saved_model")
    _keras_export.write_saved_model(model, saved, signature)
    return conversion.Conversion(saved, path, quantization, signature, rows)


def find_loops(model: keras.Model) -> list[str]:
    """Returns the names of layers that become loops, whose states need a fixed batch in TFLite."""
    layers = walk.layers(model)
    return [each.name for each in layers if isinstance(each, keras.layers.RNN) and not each.unroll]


@contextlib.contextmanager
def computing_in_float32(model: keras.Model) -> Iterator[None]:
    """Lets a mixed-precision model compute in float32, as TFLite does, during a block."""
    policies = [
        (layer, layer.dtype_policy)
        for layer in walk.layers(model)
        if layer.compute_dtype in ("float16", "bfloat16") and layer.variable_dtype == "float32"
    ]
    try:
        for layer, _ in policies:
            layer.dtype_policy = "float32"
        half = [
            layer.name
            for layer in walk.layers(model)[1:]
            if layer.variable_dtype in ("float16", "bfloat16") and layer.weights
        ]
        if half:
            raise _verification.ExportError(
                f"{', '.join(half)} of {model.name} hold weights in half precision, which TFLite "
                "cannot compute with; expected float32 weights, as float32 and the mixed policies "
                'have. Write keras.config.set_dtype_policy("float32"), build the model again as '
                "new, and new.set_weights(model.get_weights())."
            )
        yield
    finally:
        for layer, policy in policies:
            layer.dtype_policy = policy
