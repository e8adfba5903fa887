"""Runs TensorFlow's TFLite converter with the options that each precision needs."""

import dataclasses
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from kprune._support.typing import Array
from kprune.export import _keras_export, _verification
from kprune.export._inputs import examples, signatures

Precision = Literal["float16", "dynamic", "int8", "int16x8"] | None  # None: float32

CALIBRATED = ("int8", "int16x8")  # measure the range of activations on data


@dataclasses.dataclass(frozen=True)
class Conversion:
    """Describes the conversion of a SavedModel to a .tflite file of one precision.

    Args:
        directory: the SavedModel.
        path: where the file is to be; for messages alone.
        quantization: `None`, "float16", "dynamic", "int8" or "int16x8".
        signature: of the model.
        rows: examples for the calibration of integers; see `examples.read`.
    """

    directory: str
    path: str | os.PathLike[str]
    quantization: Precision
    signature: signatures.Signature
    rows: Sequence[list[Array]] | None = None

    def convert(self) -> bytes:
        """Returns the content of a .tflite file, zeros and all.

        Raises:
            ExportError: the converter fails.
        """
        import tensorflow as tf

        try:
            with _keras_export.silence_loggers(), warnings.catch_warnings():
                # About tf.lite's move to LiteRT, and about statistics that int8 does not need.
                warnings.simplefilter("ignore")
                converter = tf.lite.TFLiteConverter.from_saved_model(self.directory)
                self._set_options(converter)
                return bytes(converter.convert())
        except Exception as error:
            raise _verification.ExportError(self._explain(error)) from error

    def _set_options(self, converter: Any) -> None:
        import tensorflow as tf

        converter.optimizations = [tf.lite.Optimize.DEFAULT] if self.quantization else []
        if self.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        kernels = tf.lite.OpsSet
        if self.quantization == "int8":
            converter.target_spec.supported_ops = [kernels.TFLITE_BUILTINS_INT8]
        if self.quantization == "int16x8":
            wide = kernels.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [wide]
        if self.quantization in CALIBRATED:
            converter.representative_dataset = self._calibration

    def _calibration(self) -> Iterator[dict[str, Array]]:
        """Yields single batches: the calibrator cannot change the batch once it has begun."""
        count = self.signature.batch_size or 1
        rows = list(self.rows or ())
        rows += rows[: -len(rows) % count]  # the last batch is filled up from the first
        for start in range(0, len(rows), count):
            yield self.signature.names(examples.stack(rows[start : start + count]))

    def _explain(self, error: Exception) -> str:
        text = str(error)
        foreign = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op", text)))
        if foreign:
            return (
                f"TFLite has no operator for {', '.join(foreign)}, which the model computes with; "
                "expected operators of its builtin set, in float32 or integers. Leave these "
                "operations out of the model, or write it for a server with "
                "kprune.export.to_saved_model(model, path)."
            )
        words = " ".join(text.split())[:400] or f"{type(error).__name__} without a message"
        return (
            f"TensorFlow's converter fails on the {self.quantization or 'float32'} file for "
            f"{os.fspath(self.path)}: {words}. Expected a model that it can convert. "
            f"Write {format_call(self.path, None)} for float32, or leave out the layer it names."
        )


def format_call(
    path: str | os.PathLike[str], quantization: Precision, sparse: bool | None = None
) -> str:
    """Returns the call to write, for messages."""
    arguments = ["model", repr(os.fspath(path))]
    if quantization is not None:
        arguments.append(f'"{quantization}"')
    if quantization in CALIBRATED:
        arguments.append("representative_data=x_train[:256]")
    if sparse is not None:
        arguments.append(f"sparse={sparse}")
    return f"kprune.export.to_tflite({', '.join(arguments)})"
