"""Measures the bytes and milliseconds of a model's TFLite files."""

import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from kprune import export
from kprune.export._inputs import inspection
from kprune.export._tflite import conversion, trial


@dataclasses.dataclass(frozen=True)
class FileCost:
    """What a TFLite file costs.

    Args:
        bytes: its size, as `kprune.export.to_tflite` writes it.
        gzip_bytes: its size after gzip.
        milliseconds: the median of a call; `None` where it was not timed.
        batch_size: samples in a call.
        threads: of the interpreter.
    """

    bytes: int
    gzip_bytes: int
    milliseconds: float | None
    batch_size: int
    threads: int

    def describe(self) -> str:
        """Returns the costs as one line."""
        line = f"{self.bytes:,} bytes, {self.gzip_bytes:,} after gzip"
        if self.milliseconds is not None:
            threads = f"{self.threads} thread" + "s" * (self.threads > 1)
            line += f", {self.milliseconds:.3g} ms a call of {self.batch_size} with {threads}"
        return line


def measure(
    model: keras.Model,
    precision: str,
    data: Any,
    batch_size: int,
    threads: int,
    seconds: float,
    input_signature: Any,
) -> FileCost:
    """Writes a file into a temporary folder, and times it in the newest interpreter."""
    quantization = cast(conversion.Precision, None if precision == "float32" else precision)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{model.name}.tflite")
        written = export.to_tflite(
            model,
            path,
            quantization,
            data,
            threads=threads,
            batch_size=batch_size,
            input_signature=input_signature,
            timing_seconds=0,
        )
        milliseconds = None
        if seconds:
            signature = inspection.find_signature(model, input_signature, batch_size)
            inputs = signature.names(signature.draw(np.random.default_rng(0), batch_size))
            (times,) = trial.compare_latency([path], inputs, seconds, threads)
            milliseconds = 1e3 * statistics.median(times)
    return FileCost(written.bytes, written.gzip_bytes, milliseconds, batch_size, threads)
