"""TFLite files whose zeros take no room, and which are known to compute the right thing."""

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from kprune import files, wrapping
from kprune.export import (
    conversion,
    encodings,
    examples,
    inspection,
    saved_model,
    trial,
    verification,
)
from kprune.export.tflite_report import TFLiteReport


def to_tflite(
    model: Any,
    path: str | os.PathLike[str],
    quantization: str | None = None,
    representative_data: Any = None,
    *,
    sparse: bool = True,
    batch_size: int | None = None,
    input_signature: Any = None,
    tolerance: float | None = None,
) -> TFLiteReport:
    """Writes a model as a .tflite file, runs it, and compares it with the model.

    Use it to ship a pruned model to a phone. Weights with at least 30 % zeros are stored sparse by
    TensorFlow's own encoding, which some of its combinations get silently wrong; so the file is
    run in the stock interpreter on several inputs before it appears at `path`. A wrapped model is
    written without masks and is wrapped afterwards as before; a mixed-precision model is written
    as it computes in float32.

    A file agrees when |y - y_keras| <= tolerance * max |y_keras| for every output y, up to one
    step of int8 outputs. Sharper checks stand beside this one: a sparse file stores the
    values of the same file written densely and computes the same; a quantized file computes the
    same with XNNPACK, which is on by default, and without.

    Args:
        model: a built Keras model, wrapped or plain.
        path: the file. Missing parent directories are made.
        quantization: `None` keeps float32; "float16" halves the weights; "dynamic" stores int8
            weights and quantizes activations as they come; "int8" computes in integers
            throughout, with float inputs and outputs kept.
        representative_data: what the model sees in use; needed for "int8", which measures the
            range of activations on it, and used for the comparison where given: an array, a tuple
            or dict of arrays for several inputs, a `tf.data.Dataset` or any iterable of batches.
            Labels are dropped; the first 256 examples count. Default: N(0, 1), or integers that
            the embeddings hold.
        sparse: whether to store zeros sparsely. Default: true.
        batch_size: fixes the batch. Default: free, and 1 for models with recurrent layers,
            which convert no other way.
        input_signature: a list with a nest of `keras.InputSpec` for each argument of the model's
            call. Default: found from the model.
        tolerance: fraction of the largest output. Default: 1e-4 for float32, 2e-2 for float16,
            0.5 for int8 weights.

    Returns:
        Sizes, how each tensor is stored, and the difference from the Keras model.

    Raises:
        TypeError: the model is no Keras 3 model.
        ValueError: an argument is not one of those above.
        OSError: nothing can be written to `path`.
        ExportError: the model cannot be converted, or the file does not load or does not agree.
            What was at `path` is still there.

    Example:
        >>> print(kprune.export.to_tflite(model, "savedmodels/lenet-90.tflite"))
    """
    saved_model.check(model)
    _check(quantization, representative_data, batch_size, path)
    with (
        files.replacing(path) as temporary,
        tempfile.TemporaryDirectory() as scratch,
        wrapping.stripped(model) as plain,
        _in_float32(plain),
    ):
        loops = _loops(plain)
        if loops and quantization == "int8":
            raise verification.ExportError(
                f"{', '.join(loops)} of {plain.name} loop over time, and TensorFlow's calibration "
                'for "int8" kills the process on such a loop; expected a model without, or layers '
                f"made with unroll=True. Write {conversion.line(path, 'dynamic', sparse=False)}."
            )
        if loops and batch_size is None:
            batch_size = 1
        signature = inspection.signature(plain, input_signature, batch_size)
        rows = None
        if representative_data is not None:
            rows = examples.read(signature, representative_data)
        directory = os.path.join(scratch, "saved_model")
        saved_model.write(plain, directory, signature)
        export = conversion.Conversion(directory, path, quantization, signature, rows)
        dense = Path(scratch, "dense.tflite")
        if sparse:
            dense.write_bytes(export.convert(sparse=False))
        temporary.write_bytes(export.convert(sparse=sparse))

        batches = examples.batches(signature, rows)
        runs = [signature.names(batch) for batch in batches]
        tensors = encodings.read(temporary)
        if sparse and all(each.encoding == encodings.DENSE for each in tensors):
            shutil.copyfile(dense, temporary)  # the same without the note that it is sparse
            tensors = encodings.read(temporary)
        if any(each.encoding != encodings.DENSE for each in tensors):
            outputs = trial.sparse(temporary, dense, runs, export)
        else:
            outputs = trial.dense(temporary, runs, export)
        expected = [verification.expect(plain, signature, batch) for batch in batches]
        fraction = trial.TOLERANCES[quantization] if tolerance is None else tolerance
        try:
            step = encodings.step(temporary)
            difference = verification.agree(outputs, expected, fraction, "the Keras model", step)
        except verification.ExportError as error:
            raise verification.ExportError(
                f"the {quantization or 'float32'} file for {os.fspath(path)} was not written: "
                f"{error}; sparsity is not to blame. Write {conversion.line(path, None)}, or set "
                "tolerance to what is good enough."
            ) from error

        size = files.sizes(temporary)
        dense_size = files.sizes(dense) if sparse else None
    report = TFLiteReport(
        path=os.fspath(path),
        quantization=quantization,
        bytes=size.bytes,
        gzip_bytes=size.gzip_bytes,
        dense_bytes=dense_size.bytes if dense_size else None,
        dense_gzip_bytes=dense_size.gzip_bytes if dense_size else None,
        tensors=tensors,
        max_difference=difference.largest,
        tolerance=difference.allowed,
        batch_size=signature.batch_size,
    )
    if dense_size and size.bytes > dense_size.bytes:
        warnings.warn(
            f"{path}: {size.bytes:,} bytes sparse, {dense_size.bytes:,} dense: the indices take "
            "more room than the zeros did. "
            f"Write {conversion.line(path, quantization, sparse=False)}.",
            stacklevel=2,
        )
    return report


def _check(quantization: Any, data: Any, batch_size: Any, path: Any) -> None:
    if quantization not in trial.TOLERANCES:
        raise ValueError(
            f'quantization={quantization!r}; expected None, "float16", "dynamic" or "int8". '
            f"Write {conversion.line(path, 'dynamic')}."
        )
    if quantization == "int8" and data is None:
        raise ValueError(
            'quantization="int8" came without representative_data; expected some inputs on which '
            "to measure the range of the activations. "
            f"Write {conversion.line(path, 'int8')}."
        )
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(
            f"batch_size={batch_size!r}; expected a number of examples from 1, or None for a free "
            f"batch. Write kprune.export.to_tflite(model, {os.fspath(path)!r}, batch_size=1)."
        )


def _loops(model: keras.Model) -> list[str]:
    """Names the layers that become a loop, whose state needs a fixed batch in TFLite."""
    layers = model._flatten_layers()
    return [each.name for each in layers if isinstance(each, keras.layers.RNN) and not each.unroll]


@contextlib.contextmanager
def _in_float32(model: keras.Model) -> Iterator[None]:
    """Lets a mixed-precision model compute in float32: TFLite has no kernels for half floats."""
    held = [
        (layer, layer.dtype_policy)
        for layer in model._flatten_layers()
        if layer.compute_dtype in ("float16", "bfloat16") and layer.variable_dtype == "float32"
    ]
    try:
        for layer, _ in held:
            layer.dtype_policy = "float32"
        half = [
            layer.name
            for layer in model._flatten_layers(include_self=False)
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
