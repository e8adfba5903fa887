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

from kprune import files, tables, wrapping
from kprune.export import examples, inspection, signatures, verification

MARKER = "saved_model.pb"  # every SavedModel directory holds it
TOLERANCE = 1e-4  # of the largest output: the same kernels run, fused in another order


@dataclasses.dataclass(frozen=True)
class SavedModelReport:
    """What `to_saved_model` wrote.

    `print` shows it as a table; `to_dict` gives it to JSON.

    Args:
        path: the directory.
        bytes: of all its files.
        gzip_bytes: the same after gzip, where zeros show: a SavedModel stores weights densely.
        max_difference: the largest difference from the Keras model's outputs.
    """

    path: str
    bytes: int
    gzip_bytes: int
    max_difference: float

    def render(self) -> str:
        """Returns the report as a table."""
        row = [
            self.path,
            f"{self.bytes:,}",
            f"{self.gzip_bytes:,}",
            f"{self.max_difference:.1e}",
        ]
        return tables.render(
            "SavedModel, reloaded and compared", ["path", "bytes", "gzip", "difference"], [row]
        )

    __str__ = render

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON takes them."""
        return dataclasses.asdict(self)


def to_saved_model(
    model: Any, path: str | os.PathLike[str], *, input_signature: Any = None
) -> SavedModelReport:
    """Writes a model as a SavedModel, reloads it, and compares it with the model.

    Use it to serve a pruned model with TensorFlow Serving, or as the start of other converters.
    A wrapped model is written without masks and is wrapped afterwards as before. The directory
    appears when it is complete and verified; an earlier SavedModel there is replaced then.

    Args:
        model: a built Keras model, wrapped or plain.
        path: the directory. Missing parents are made.
        input_signature: a list with a nest of `keras.InputSpec` for each argument of the model's
            call. Default: found from the model, with a free batch.

    Raises:
        TypeError: the model is no Keras 3 model.
        ValueError: the path is empty, or the model's inputs cannot be known.
        OSError: nothing can be written to `path`, or it holds files that are no SavedModel.
        ExportError: the model cannot be exported, or the reloaded one computes something else.

    Example:
        >>> report = kprune.export.to_saved_model(model, "savedmodels/lenet-90")
        >>> report.gzip_bytes < report.bytes
        True
    """
    check(model)
    with files.replacing(path, MARKER) as temporary, wrapping.stripped(model) as plain:
        signature = inspection.signature(plain, input_signature)
        write(plain, os.fspath(temporary), signature)
        difference = _verify(plain, os.fspath(temporary), signature)
        size = files.sizes(temporary)
    return SavedModelReport(os.fspath(path), size.bytes, size.gzip_bytes, difference)


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


def _verify(model: Any, path: str, signature: signatures.Signature) -> float:
    """Returns the largest difference between the model and its reloaded copy."""
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:
        raise verification.ExportError(
            f"the SavedModel of {model.name} cannot be loaded again: {error} Expected one that "
            "tf.saved_model.load takes. Write model.export(path) to see Keras's own account."
        ) from error
    expected, actual = [], []
    for batch in examples.batches(signature, None):
        expected.append(verification.expect(model, signature, batch))
        tensors = [tf.convert_to_tensor(array) for array in batch]
        actual.append(verification.name(loaded.serve(*signature.pack(tensors))))
    try:
        return verification.agree(actual, expected, TOLERANCE, "the Keras model").largest
    except verification.ExportError as error:
        raise verification.ExportError(
            f"the SavedModel of {model.name} was not written: {error}. Does its call draw random "
            "numbers? Compare model(x, training=False) with itself."
        ) from error
