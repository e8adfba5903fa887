"""What a model and the arguments of an export must be before a conversion begins."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import keras

from kprune._keras import walk
from kprune.export import (
    conversion,
    examples,
    inspection,
    saved_model,
    trial,
    verification,
)


def check(quantization: Any, data: Any, batch_size: Any, path: Any) -> None:
    """Raises a `ValueError` for arguments of `to_tflite` that are none."""
    if quantization not in trial.TOLERANCES:
        raise ValueError(
            f'quantization={quantization!r}; expected None, "float16", "dynamic", "int8" or '
            '"int16x8". '
            f"Write {conversion.line(path, 'dynamic')}."
        )
    if quantization in conversion.CALIBRATED and data is None:
        raise ValueError(
            f'quantization="{quantization}" came without representative_data; expected some '
            "inputs on which to measure the range of the activations. "
            f"Write {conversion.line(path, quantization)}."
        )
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(
            f"batch_size={batch_size!r}; expected a number of examples from 1, or None for a free "
            f"batch. Write kprune.export.to_tflite(model, {os.fspath(path)!r}, batch_size=1)."
        )


def check_weights(model: keras.Model) -> None:
    """Raises an `ExportError` for a model that Keras has quantized, on which TFLite gives up."""
    quantized = [
        each.name
        for each in walk.layers(model)
        if getattr(each, "quantization_mode", None) is not None
    ]
    if quantized:
        raise verification.ExportError(
            f"{', '.join(quantized)} of {model.name} hold weights that Keras has quantized, which "
            "TFLite's operators do not take; expected float weights, which TFLite quantizes "
            'itself. Write to_tflite(model, path, "dynamic") before model.quantize.'
        )


def conversion_of(
    model: keras.Model,
    directory: str,
    path: str | os.PathLike[str],
    quantization: str | None,
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
    looping = loops(model)
    if looping and quantization in conversion.CALIBRATED:
        raise verification.ExportError(
            f"{', '.join(looping)} of {model.name} loop over time, and TensorFlow's calibration "
            f'for "{quantization}" kills the process on such a loop; expected a model without, or '
            f"layers made with unroll=True. Write {conversion.line(path, 'dynamic')}."
        )
    if looping and batch_size is None:
        batch_size = 1
    signature = inspection.signature(model, input_signature, batch_size)
    rows = None if data is None else examples.read(signature, data)
    saved = os.path.join(directory, "saved_model")
    saved_model.write(model, saved, signature)
    return conversion.Conversion(saved, path, quantization, signature, rows)


def loops(model: keras.Model) -> list[str]:
    """Names the layers that become a loop, whose state needs a fixed batch in TFLite."""
    layers = walk.layers(model)
    return [each.name for each in layers if isinstance(each, keras.layers.RNN) and not each.unroll]


@contextlib.contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Lets a mixed-precision model compute in float32: TFLite has no kernels for half floats."""
    held = [
        (layer, layer.dtype_policy)
        for layer in walk.layers(model)
        if layer.compute_dtype in ("float16", "bfloat16") and layer.variable_dtype == "float32"
    ]
    try:
        for layer, _ in held:
            layer.dtype_policy = "float32"
        half = [
            layer.name
            for layer in walk.layers(model)[1:]
            if layer.variable_dtype in ("float16", "bfloat16") and layer.weights
        ]
        if half:
            raise verification.ExportError(
                f"{', '.join(half)} of {model.name} hold weights in half precision, which TFLite "
                "cannot compute with; expected float32 weights, as float32 and the mixed policies "
                'have. Write keras.config.set_dtype_policy("float32"), build the model again as '
                "new, and new.set_weights(model.get_weights())."
            )
        yield
    finally:
        for layer, policy in held:
            layer.dtype_policy = policy
