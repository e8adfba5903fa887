"""Fills the frame of exports for .tflite files: converts, stores zeros sparsely, runs, reports."""

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
from kprune.export._tflite.conversion import Precision
from kprune.export._tflite.format import encodings, loading
from kprune.export._tflite.format.encodings import TensorEncoding
from kprune.export._tflite.report import Cost, Latency, TFLiteReport
from kprune.export._tflite.rules import targets


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
class TFLite(_frame.Format[_Converted, _Encoded, _Measured, TFLiteReport]):
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
            naming.name_constants(loading.load(file), model),
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
