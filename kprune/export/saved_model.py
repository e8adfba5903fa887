"""Writes SavedModels for TensorFlow Serving, and compares each with the Keras model."""

import dataclasses
import os
from typing import Any

import keras

from kprune._keras import backend
from kprune._keras.tensorflow import tf
from kprune._support import files, tables
from kprune.export import _frame, _keras_export, _verification
from kprune.export._inputs import examples, inspection, signatures

__all__ = ["SavedModelReport", "SignatureTensor", "to_saved_model"]

MARKER = "saved_model.pb"  # every SavedModel directory holds it
TAG = "serve"  # of the graph that TensorFlow Serving looks for
SIGNATURES = ("serving_default", "serve")  # the one that it calls, and Keras's name for it
TOLERANCE = 1e-4  # of the largest output: the same kernels run, fused in another order


@dataclasses.dataclass(frozen=True)
class SignatureTensor:
    """Describes an input or output of a signature.

    Args:
        name: by which a request names it.
        dtype: the name of its type.
        shape: `None` where an axis is free, the batch first.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class SavedModelReport:
    """Describes what `to_saved_model` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the directory.
        bytes: the size of all its files.
        gzip_bytes: the same after gzip, where zeros show: a SavedModel stores weights densely.
        max_difference: the largest difference from the Keras model's outputs.
        inputs: the inputs of the signature `serving_default`.
        outputs: the outputs of the same signature.
    """

    path: str
    bytes: int
    gzip_bytes: int
    max_difference: float
    inputs: tuple[SignatureTensor, ...]
    outputs: tuple[SignatureTensor, ...]

    def render(self) -> str:
        """Returns the report as a table: what the signature takes and gives."""
        rows = [
            [kind, each.name, each.dtype, _format_shape(each)]
            for kind, tensors in (("input", self.inputs), ("output", self.outputs))
            for each in tensors
        ]
        lines = [
            f"files      {self.bytes:,} bytes, {self.gzip_bytes:,} after gzip",
            f"signature  {SIGNATURES[0]}, tag {TAG}",
            f"verified   {self.max_difference:.1e} from the Keras model, by these names",
        ]
        return tables.render(self.path, ["", "name", "type", "shape"], rows, "\n".join(lines))

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        return dataclasses.asdict(self)


def to_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    batch_size: int | None = None,
    input_signature: Any = None,
) -> SavedModelReport:
    """Writes a model as a SavedModel, reloads it, and compares it with the model.

    Use it to serve a pruned model with TensorFlow Serving, or as the start of other converters.
    A wrapped model is written without masks and is wrapped afterwards as before. The directory
    appears when it is complete and verified; an earlier SavedModel there is replaced then.

    The signature `serving_default`, under the tag `serve`, takes each input by its name and gives
    each output by its name: the keys where the model takes or gives a dict; else the names
    of the `keras.Input`s, and output_0, output_1 and so on. That is how it is compared, too.
    Serving looks for versions in a model's directory: write to "models/lenet/1", and give it
    --model_name=lenet --model_base_path=/.../models/lenet. A higher version is loaded as soon
    as it appears, and it appears only when it is complete.

    The outputs agree when |y - y_keras| <= 1e-4 max |y_keras| for each of them.

    Args:
        model: a built Keras model, wrapped or plain; strings are inputs like any other.
        path: the directory. Missing parents are made.
        batch_size: examples in a request. Default: free, or as `input_signature` has it.
        input_signature: a list with a nest of `keras.InputSpec` for each argument of the model's
            call. Default: found from the model.

    Returns:
        Sizes, the inputs and outputs of the signature, and the difference from the Keras model.

    Raises:
        TypeError: the model is not a Keras 3 model.
        ValueError: the path is empty, the batch is not a positive whole number, or the model's
            inputs cannot be known.
        OSError: nothing can be written to `path`, or it holds files that are not a SavedModel.
        ExportError: the model cannot be exported, or the reloaded one computes something else.
            What was at `path` is still there.

    Example:
        >>> report = kprune.export.to_saved_model(model, "savedmodels/lenet/1")
        >>> served = tf.saved_model.load("savedmodels/lenet/1").signatures["serving_default"]
        >>> served(**{report.inputs[0].name: tf.constant(x)})[report.outputs[0].name]
    """
    backend.require_tensorflow("kprune.export.to_saved_model")
    _frame.check_batch_size(batch_size, f"kprune.export.to_saved_model(model, {os.fspath(path)!r})")
    return _frame.export(model, path, _SavedModel(batch_size, input_signature))


@dataclasses.dataclass(frozen=True)
class _SavedModel(
    _frame.Format[signatures.Signature, list[Any], files.Size, SavedModelReport],
):
    """Exports to a SavedModel; the arguments are those of `to_saved_model`."""

    batch_size: int | None
    input_signature: Any

    marker = MARKER

    def convert(self, model: keras.Model, paths: _frame.Paths) -> signatures.Signature:
        """Finds the model's signature and writes the SavedModel, which Keras does in one go."""
        signature = inspection.find_signature(model, self.input_signature, self.batch_size)
        _keras_export.write_saved_model(model, os.fspath(paths.written), signature)
        return signature

    def encode(self, converted: signatures.Signature, paths: _frame.Paths) -> list[Any]:
        """Loads the signatures again, as TensorFlow Serving does: the weights stay dense."""
        try:
            loaded = tf.saved_model.load(os.fspath(paths.written), tags=[TAG]).signatures
            return [loaded[name] for name in SIGNATURES]
        except Exception as error:
            raise _verification.ExportError(
                f"the SavedModel for {paths.target} cannot be loaded again: {error} Expected one "
                f"that tf.saved_model.load takes, with the signatures {' and '.join(SIGNATURES)}. "
                "Write model.export(path) to see Keras's full error."
            ) from error

    def verify(
        self,
        model: keras.Model,
        converted: signatures.Signature,
        encoded: list[Any],
        paths: _frame.Paths,
    ) -> _verification.Difference:
        """Compares the outputs of each signature, called by names, with the model's."""
        differences = [_compare(model, served, converted) for served in encoded]
        return max(differences, key=lambda difference: difference.largest)

    def measure(
        self, converted: signatures.Signature, encoded: list[Any], paths: _frame.Paths
    ) -> files.Size:
        """Returns the size of the directory."""
        return files.sizes(paths.written)

    def report(
        self,
        converted: signatures.Signature,
        encoded: list[Any],
        difference: _verification.Difference,
        measured: files.Size,
        paths: _frame.Paths,
    ) -> SavedModelReport:
        """Returns sizes, the tensors of the signature, and the difference."""
        return SavedModelReport(
            path=paths.target,
            bytes=measured.bytes,
            gzip_bytes=measured.gzip_bytes,
            max_difference=difference.largest,
            inputs=_describe(encoded[0].structured_input_signature[1]),
            outputs=_describe(encoded[0].structured_outputs),
        )


def _compare(
    model: keras.Model, served: Any, signature: signatures.Signature
) -> _verification.Difference:
    """Compares the outputs of a served signature with the model's on a few batches."""
    expected, actual = [], []
    for batch in examples.batches(signature, None):
        expected.append(_verification.expect(model, signature, batch))
        named = {
            name: tf.convert_to_tensor(array) for name, array in signature.names(batch).items()
        }
        actual.append(_verification.name_outputs(served(**named)))
    try:
        return _verification.agree(actual, expected, TOLERANCE, "the Keras model")
    except _verification.ExportError as error:
        raise _verification.ExportError(
            f"the SavedModel of {model.name} was not written: {error}. Does its call draw random "
            "numbers? Compare model(x, training=False) with itself."
        ) from error


def _describe(specs: dict[str, Any]) -> tuple[SignatureTensor, ...]:
    """Describes the tensors of a signature, in the order of their names."""
    return tuple(
        SignatureTensor(
            name, spec.dtype.name, tuple(spec.shape) if spec.shape.rank is not None else ()
        )
        for name, spec in sorted(specs.items())
    )


def _format_shape(tensor: SignatureTensor) -> str:
    return " x ".join("free" if length is None else str(length) for length in tensor.shape)
