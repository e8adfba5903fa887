"""A SavedModel for TensorFlow Serving, checked against the model it was made from."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator
from typing import Any

import absl.logging
import keras
import tensorflow as tf

from kprune._masking import wrapping
from kprune._support import files, tables
from kprune.export import examples, inspection, signatures, verification

MARKER = "saved_model.pb"  # every SavedModel directory holds it
TAG = "serve"  # of the graph that TensorFlow Serving looks for
SIGNATURES = ("serving_default", "serve")  # the one that it calls, and Keras's name for it
TOLERANCE = 1e-4  # of the largest output: the same kernels run, fused in another order


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a signature.

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
    """What `to_saved_model` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the directory.
        bytes: of all its files.
        gzip_bytes: the same after gzip, where zeros show: a SavedModel stores weights densely.
        max_difference: the largest difference from the Keras model's outputs.
        inputs: of the signature `serving_default`.
        outputs: of the same.
    """

    path: str
    bytes: int
    gzip_bytes: int
    max_difference: float
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def render(self) -> str:
        """Returns the report as a table: what the signature takes and gives."""
        rows = [
            [kind, each.name, each.dtype, _shape(each)]
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
    model: Any,
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
    --model_name=lenet --model_base_path=/.../models/lenet. A higher version is taken up as soon
    as it appears, and it appears whole.

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
        TypeError: the model is no Keras 3 model.
        ValueError: the path is empty, the batch is no positive whole number, or the model's inputs
            cannot be known.
        OSError: nothing can be written to `path`, or it holds files that are no SavedModel.
        ExportError: the model cannot be exported, or the reloaded one computes something else.
            What was at `path` is still there.

    Example:
        >>> report = kprune.export.to_saved_model(model, "savedmodels/lenet/1")
        >>> served = tf.saved_model.load("savedmodels/lenet/1").signatures["serving_default"]
        >>> served(**{report.inputs[0].name: tf.constant(x)})[report.outputs[0].name]
    """
    check(model)
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(
            f"batch_size={batch_size!r}; expected a number of examples from 1, or None for a free "
            f"batch. Write kprune.export.to_saved_model(model, {os.fspath(path)!r})."
        )
    with files.replacing(path, MARKER) as temporary, wrapping.stripped(model) as plain:
        signature = inspection.signature(plain, input_signature, batch_size)
        write(plain, os.fspath(temporary), signature)
        served = _load(plain, os.fspath(temporary))
        difference = max(_difference(plain, each, signature) for each in served)
        size = files.sizes(temporary)
    return SavedModelReport(
        path=os.fspath(path),
        bytes=size.bytes,
        gzip_bytes=size.gzip_bytes,
        max_difference=difference,
        inputs=_tensors(served[0].structured_input_signature[1]),
        outputs=_tensors(served[0].structured_outputs),
    )


def check(model: Any) -> None:
    """Raises a `TypeError` for what is no Keras 3 model."""
    if not isinstance(model, keras.Model):
        kind = type(model)
        raise TypeError(
            f"got a {kind.__module__}.{kind.__qualname__}; expected a keras.Model of Keras 3. "
            "Write keras.Sequential([layer]) around a layer, or load a tf_keras model's weights "
            "into a Keras 3 model."
        )


def write(model: Any, path: str, signature: signatures.Signature) -> None:
    """Writes a plain model as a SavedModel, without a word on the console."""
    try:
        with quiet():
            model.export(
                path, format="tf_saved_model", verbose=False, input_signature=signature.specs
            )
    except Exception as error:
        words = " ".join(str(error).split())
        raise verification.ExportError(
            f"Keras cannot export {model.name}: {words} Expected a model whose call takes and "
            "gives tensors, or flat lists, tuples or dicts of them. "
            "Write model.export(path) to see Keras's own account."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the loggers of TensorFlow and absl for the duration of a block.

    What TensorFlow's C++ code writes to the console goes past Python and stays.
    """
    logger = logging.getLogger("tensorflow")
    level, verbosity = logger.level, absl.logging.get_verbosity()
    try:
        logger.setLevel(logging.ERROR)
        absl.logging.set_verbosity(absl.logging.ERROR)  # absl's own, which app.run raises
        yield
    finally:
        logger.setLevel(level)
        absl.logging.set_verbosity(verbosity)


def _load(model: Any, path: str) -> list[Any]:
    """Returns the signatures of a SavedModel, loaded as TensorFlow Serving loads it."""
    try:
        found = tf.saved_model.load(path, tags=[TAG]).signatures
        return [found[name] for name in SIGNATURES]
    except Exception as error:
        raise verification.ExportError(
            f"the SavedModel of {model.name} cannot be loaded again: {error} Expected one that "
            f"tf.saved_model.load takes, with the signatures {' and '.join(SIGNATURES)}. "
            "Write model.export(path) to see Keras's own account."
        ) from error


def _difference(model: Any, served: Any, signature: signatures.Signature) -> float:
    """Returns the largest difference between the model and a signature, called by names."""
    expected, actual = [], []
    for batch in examples.batches(signature, None):
        expected.append(verification.expect(model, signature, batch))
        named = {
            name: tf.convert_to_tensor(array) for name, array in signature.names(batch).items()
        }
        actual.append(verification.name(served(**named)))
    try:
        return verification.agree(actual, expected, TOLERANCE, "the Keras model").largest
    except verification.ExportError as error:
        raise verification.ExportError(
            f"the SavedModel of {model.name} was not written: {error}. Does its call draw random "
            "numbers? Compare model(x, training=False) with itself."
        ) from error


def _tensors(specs: dict[str, tf.TensorSpec]) -> tuple[Tensor, ...]:
    """Describes the tensors of a signature, in the order of their names."""
    return tuple(
        Tensor(name, spec.dtype.name, tuple(spec.shape) if spec.shape.rank is not None else ())
        for name, spec in sorted(specs.items())
    )


def _shape(tensor: Tensor) -> str:
    return " x ".join("free" if length is None else str(length) for length in tensor.shape)
