"""Writes .tflite files whose zeros take no room, each run and compared with the model."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kprune._support import files
from kprune._support.typing import Array
from kprune.export import _frame, _verification
from kprune.export._inputs import examples, signatures
from kprune.export._tflite import acceptance, conversion, naming, preparation, trial
from kprune.export._tflite.check_report import CheckReport, WeightCheck
from kprune.export._tflite.checking import check
from kprune.export._tflite.conversion import Precision
from kprune.export._tflite.format import encodings, flatbuffer
from kprune.export._tflite.format.encodings import TensorEncoding
from kprune.export._tflite.report import Cost, Latency, TFLiteReport
from kprune.export._tflite.rules import targets

__all__ = ["CheckReport", "TFLiteReport", "TensorEncoding", "WeightCheck", "check", "to_tflite"]


def to_tflite(
    model: Any,
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
    _frame.check_model(model)
    preparation.check_arguments(quantization, representative_data, batch_size, path)
    targets.check_target(target, threads)
    arguments = _TFLite(
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


@dataclasses.dataclass(frozen=True)
class _Converted:
    """A dense file, and what it computes.

    Args:
        file: the dense file.
        signature: the inputs of the model.
        batches: inputs on which files are compared, in the order of the signature.
        reference: the runs of the dense file on them.
        paths: the paths of the variables that its constants hold.
    """

    file: Path
    signature: signatures.Signature
    batches: Sequence[list[Array]]
    reference: dict[str, trial.Run]
    paths: Mapping[tuple[int, str], str]

    @property
    def runs(self) -> list[dict[str, Array]]:
        """The batches by the names of the inputs."""
        return [self.signature.names(batch) for batch in self.batches]


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """The file as it is written.

    Args:
        results: its runs; those of the dense file where nothing is sparse.
        reasons: why constants with zeros are dense.
    """

    results: dict[str, trial.Run]
    reasons: Mapping[tuple[int, str], str]


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Sizes, and the seconds of calls in turn, if any were timed."""

    size: files.Size
    dense_size: files.Size
    times: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class _TFLite(_frame.Format[_Converted, _Encoded, _Measured, TFLiteReport]):
    """Exports to a .tflite file; the arguments are those of `to_tflite`."""

    quantization: Precision
    representative_data: Any
    target: targets.Name
    threads: int
    sparse: bool
    batch_size: int | None
    input_signature: Any
    tolerance: float | None
    timing_seconds: float

    def borrow(self, model: keras.Model) -> contextlib.AbstractContextManager[None]:
        """Lets the model compute in float32."""
        return preparation.computing_in_float32(model)

    def convert(self, model: keras.Model, paths: _frame.Paths) -> _Converted:
        """Converts the model to a dense file, and runs it."""
        prepared = preparation.prepare_conversion(
            model,
            os.fspath(paths.scratch),
            paths.target,
            self.quantization,
            self.representative_data,
            self.batch_size,
            self.input_signature,
        )
        file = paths.scratch / "dense.tflite"
        file.write_bytes(prepared.convert())
        batches = examples.batches(prepared.signature, prepared.rows)
        runs = [prepared.signature.names(batch) for batch in batches]
        return _Converted(
            file,
            prepared.signature,
            batches,
            trial.run_dense(file, runs, prepared),
            naming.name_constants(flatbuffer.load(file), model),
        )

    def encode(self, converted: _Converted, paths: _frame.Paths) -> _Encoded:
        """Stores zeros sparsely, as far as every interpreter runs the file right."""
        paths.written.write_bytes(converted.file.read_bytes())
        if not self.sparse:
            return _Encoded(converted.reference, {})
        target = targets.Target(self.target, converted.signature.batch_size, self.threads)
        return _Encoded(
            *acceptance.sparsify(
                converted.file,
                paths.written,
                converted.runs,
                converted.reference,
                self.quantization,
                target,
            )
        )

    def verify(
        self, model: keras.Model, converted: _Converted, encoded: _Encoded, paths: _frame.Paths
    ) -> _verification.Difference:
        """Compares what each interpreter computed with the model."""
        expected = [
            _verification.expect(model, converted.signature, batch) for batch in converted.batches
        ]
        default = trial.TOLERANCES[self.quantization]
        fraction = default if self.tolerance is None else self.tolerance
        step = encodings.output_step(paths.written)
        try:
            differences = [
                _verification.agree(run.outputs, expected, fraction, "the Keras model", step)
                for run in encoded.results.values()
            ]
        except _verification.ExportError as error:
            raise _verification.ExportError(
                f"the {self.quantization or 'float32'} file for {paths.target} was not written: "
                f"{error}; sparsity is not to blame. Write "
                f"{conversion.format_call(paths.target, None)}, or set tolerance to what is good "
                "enough."
            ) from error
        return max(differences, key=lambda difference: difference.largest)

    def measure(self, converted: _Converted, encoded: _Encoded, paths: _frame.Paths) -> _Measured:
        """Measures the files, and times calls of both in turn."""
        is_dense = encoded.results is converted.reference
        times: Sequence[Sequence[float]] = []
        if self.timing_seconds and not is_dense:
            both = [paths.written, converted.file]
            with contextlib.suppress(_verification.ExportError):  # a time is no reason to fail
                times = trial.compare_latency(
                    both, converted.runs[-1], self.timing_seconds, self.threads
                )
        size = files.sizes(paths.written)
        return _Measured(size, size if is_dense else files.sizes(converted.file), times)

    def report(
        self,
        converted: _Converted,
        encoded: _Encoded,
        difference: _verification.Difference,
        measured: _Measured,
        paths: _frame.Paths,
    ) -> TFLiteReport:
        """Returns sizes, how each constant is stored, costs, and the difference."""
        size, dense_size = measured.size, measured.dense_size
        return TFLiteReport(
            path=paths.target,
            quantization=self.quantization,
            target=self.target,
            bytes=size.bytes,
            gzip_bytes=size.gzip_bytes,
            dense_bytes=dense_size.bytes if self.sparse else None,
            dense_gzip_bytes=dense_size.gzip_bytes if self.sparse else None,
            tensors=_describe(converted, encoded, paths.written),
            costs=tuple(
                Cost.of(runtime, run, converted.reference[runtime] if self.sparse else None)
                for runtime, run in encoded.results.items()
            ),
            latency=Latency.of(*measured.times) if measured.times else None,
            max_difference=difference.largest,
            tolerance=difference.allowed,
            batch_size=converted.signature.batch_size,
        )


def _describe(converted: _Converted, encoded: _Encoded, file: Path) -> tuple[TensorEncoding, ...]:
    """Describes the constants of a file by the paths of the variables that they hold."""
    # Half floats may be stored sparse as float32; their dense bytes are those of halves.
    stored = {
        (tensor.graph, tensor.name): tensor.bytes
        for tensor in encodings.read_encodings(converted.file)
    }
    return tuple(
        dataclasses.replace(
            tensor,
            name=converted.paths.get((tensor.graph, tensor.name), tensor.name),
            dense_bytes=stored[tensor.graph, tensor.name],
            reason=encoded.reasons.get((tensor.graph, tensor.name)),
        )
        for tensor in encodings.read_encodings(file)
    )
