"""Writes .tflite files whose zeros take no room, each run and compared with the model."""

import os
from typing import Any

import keras

from kprune._keras import backend
from kprune.export import _frame
from kprune.export._tflite import preparation
from kprune.export._tflite.check_report import CheckReport, WeightCheck
from kprune.export._tflite.checking import check
from kprune.export._tflite.conversion import Precision
from kprune.export._tflite.exporter import TFLite
from kprune.export._tflite.format.encodings import TensorEncoding
from kprune.export._tflite.report import TFLiteReport
from kprune.export._tflite.rules import targets

__all__ = ["CheckReport", "TFLiteReport", "TensorEncoding", "WeightCheck", "check", "to_tflite"]


def to_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    quantization: Precision = None,
    representative_data: Any = None,
    *,
    target: targets.Name = "size",
    threads: int = 1,
    sparse: bool = True,
    batch_size: int | None = None,
    input_signature: Any = None,
    tolerance: float | None = None,
    timing_seconds: float = 0.3,
) -> TFLiteReport:
    """Writes a model as a .tflite file, runs it, and compares it with the model.

    Use it to ship a pruned model to a phone. TensorFlow converts the model densely; then each
    constant gets the smallest encoding that the interpreters decode, or stays dense and the
    report says why. So the file is never larger than the dense one, and never slower:
    zeros that are unpacked when it is loaded cost nothing afterwards. A wrapped model is
    written without masks and is wrapped afterwards as before; a mixed-precision model is written
    as it computes in float32.

    Before it appears at `path` the file is run on several inputs and batches in TensorFlow's
    interpreter, and in LiteRT's where `ai-edge-litert` is installed, with their default settings.
    It agrees when |y - y_keras| <= tolerance * max |y_keras| for every output y, up to one
    step of int8 outputs. Sharper checks stand beside this one: a sparse file stores, bit for bit,
    the values of the same file written densely and computes the same; a quantized file computes
    the same with XNNPACK, which is on by default, and without.

    Args:
        model: a built Keras model, wrapped or plain.
        path: the file. Missing parent directories are made.
        quantization: `None` keeps float32; "float16" halves the weights; "dynamic" stores int8
            weights and quantizes activations at run time; "int8" computes in integers
            throughout, with float inputs and outputs kept; "int16x8" does so with activations of
            16 bits, and stays dense.
        representative_data: what the model sees in use; needed for "int8" and "int16x8", which
            measure the range of activations on it, and used for the comparison where given: an
            array, a tuple or dict of arrays for several inputs, a `tf.data.Dataset` or any
            iterable of batches. Labels are dropped; the first 256 examples count. Default:
            N(0, 1), or integers that the embeddings hold.
        target: "size" for the smallest file, as fast as the dense one everywhere; "x86" or "arm"
            for kernels that read blocks of zeros directly where that was measured to be faster
            on such a processor: see `check`, and the presets `tflite_float32` and
            `tflite_dynamic` of `kprune.patterns`.
        threads: of the interpreter, for the target's rules. Default: 1, as the interpreter's.
        sparse: whether to store zeros sparsely. Default: true.
        batch_size: fixes the batch. Default: free, and 1 for models with recurrent layers,
            which convert no other way.
        input_signature: a list with a nest of `keras.InputSpec` for each argument of the model's
            call. Default: found from the model.
        tolerance: fraction of the largest output. Default: 1e-4 for float32, 2e-2 for float16,
            0.5 for int8 weights.
        timing_seconds: how long to time the sparse against the dense file; 0 for not at all.

    Returns:
        Sizes, how each tensor is stored and why, what loading and a call cost, and the
        difference from the Keras model.

    Raises:
        TypeError: the model is not a Keras 3 model.
        ValueError: an argument is not one of those above.
        OSError: nothing can be written to `path`.
        ExportError: the model cannot be converted, or the file does not load or does not agree.
            What was at `path` is still there.

    Example:
        >>> print(kprune.export.to_tflite(model, "savedmodels/lenet-90.tflite"))
    """
    backend.require_tensorflow("kprune.export.to_tflite")
    _frame.check_model(model)
    preparation.check_arguments(quantization, representative_data, batch_size, path)
    targets.check_target(target, threads)
    arguments = TFLite(
        quantization,
        representative_data,
        target,
        threads,
        sparse,
        batch_size,
        input_signature,
        tolerance,
        timing_seconds,
    )
    return _frame.export(model, path, arguments)
