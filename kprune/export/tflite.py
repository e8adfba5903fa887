"""TFLite files whose zeros take no room, and which are known to compute the right thing."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kprune._masking import wrapping
from kprune._support import files
from kprune.export import (
    acceptance,
    conversion,
    examples,
    preparation,
    saved_model,
    trial,
    verification,
)
from kprune.export._tflite import encodings, targets
from kprune.export.tflite_report import Cost, Latency, TFLiteReport


def to_tflite(
    model: Any,
    path: str | os.PathLike[str],
    quantization: str | None = None,
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
    constant gets the smallest encoding that the stock interpreters decode, or stays dense and
    the report says why. So the file is never larger than the dense one, and never slower:
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
            weights and quantizes activations as they come; "int8" computes in integers
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
        threads: of the interpreter, as the target's rules reckon with. Default: 1, as its own.
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
        TypeError: the model is no Keras 3 model.
        ValueError: an argument is not one of those above.
        OSError: nothing can be written to `path`.
        ExportError: the model cannot be converted, or the file does not load or does not agree.
            What was at `path` is still there.

    Example:
        >>> print(kprune.export.to_tflite(model, "savedmodels/lenet-90.tflite"))
    """
    saved_model.check(model)
    preparation.check(quantization, representative_data, batch_size, path)
    targets.check(target, threads)
    with (
        files.replacing(path) as temporary,
        tempfile.TemporaryDirectory() as scratch,
        wrapping.stripped(model) as plain,
        preparation.in_float32(plain),
    ):
        export = preparation.conversion_of(
            plain, scratch, path, quantization, representative_data, batch_size, input_signature
        )
        signature, rows = export.signature, export.rows
        dense = Path(scratch, "dense.tflite")
        dense.write_bytes(export.convert())

        batches = examples.batches(signature, rows)
        runs = [signature.names(batch) for batch in batches]
        reference = trial.dense(dense, runs, export)
        reasons: Mapping[tuple[int, str], str] = {}
        results = reference
        temporary.write_bytes(dense.read_bytes())
        if sparse:
            made_for = targets.Target(target, signature.batch_size, threads)
            results, reasons = acceptance.sparsify(
                dense, temporary, runs, reference, quantization, made_for
            )
        expected = [verification.expect(plain, signature, batch) for batch in batches]
        fraction = trial.TOLERANCES[quantization] if tolerance is None else tolerance
        try:
            step = encodings.step(temporary)
            differences = [
                verification.agree(each.outputs, expected, fraction, "the Keras model", step)
                for each in results.values()
            ]
        except verification.ExportError as error:
            raise verification.ExportError(
                f"the {quantization or 'float32'} file for {os.fspath(path)} was not written: "
                f"{error}; sparsity is not to blame. Write {conversion.line(path, None)}, or set "
                "tolerance to what is good enough."
            ) from error
        difference = max(differences, key=lambda each: each.largest)
        times: list[list[float]] = []
        if timing_seconds and results is not reference:
            with contextlib.suppress(verification.ExportError):  # a time is no reason to fail
                times = trial.race([temporary, dense], runs[-1], timing_seconds, threads)
        size = files.sizes(temporary)
        dense_size = size if results is reference else files.sizes(dense)
        # Half floats may be stored sparse as float32; their dense bytes are those of halves.
        stored = {(each.graph, each.name): each.bytes for each in encodings.read(dense)}
        paths = encodings.paths(dense, plain)
        tensors = tuple(
            dataclasses.replace(
                each,
                name=paths[each.graph, each.name],
                dense_bytes=stored[each.graph, each.name],
                reason=reasons.get((each.graph, each.name)),
            )
            for each in encodings.read(temporary)
        )
    return TFLiteReport(
        path=os.fspath(path),
        quantization=quantization,
        target=target,
        bytes=size.bytes,
        gzip_bytes=size.gzip_bytes,
        dense_bytes=dense_size.bytes if sparse else None,
        dense_gzip_bytes=dense_size.gzip_bytes if sparse else None,
        tensors=tensors,
        costs=tuple(
            Cost.of(runtime, results[runtime], reference[runtime] if sparse else None)
            for runtime in results
        ),
        latency=Latency.of(*times) if times else None,
        max_difference=difference.largest,
        tolerance=difference.allowed,
        batch_size=signature.batch_size,
    )
