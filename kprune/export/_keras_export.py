"""Writes SavedModels with Keras's own export, without output on the console."""

import contextlib
import logging
from collections.abc import Iterator

import absl.logging
import keras

from kprune._keras import hooks
from kprune.export._inputs import signatures
from kprune.export._verification import ExportError


def write_saved_model(model: keras.Model, path: str, signature: signatures.Signature) -> None:
    """Writes a plain model as a SavedModel.

    Raises:
        ExportError: Keras cannot export the model.
    """
    try:
        with silence_loggers(), hooks.called_for_inference(model):
            model.export(
                path, format="tf_saved_model", verbose=False, input_signature=signature.specs
            )
    except Exception as error:
        message = " ".join(str(error).split())
        raise ExportError(
            f"Keras cannot export {model.name}: {message} Expected a model whose call takes and "
            "gives tensors, or flat lists, tuples or dicts of them. "
            "Write model.export(path) to see Keras's full error."
        ) from error


@contextlib.contextmanager
def silence_loggers() -> Iterator[None]:
    """Silences the loggers of TensorFlow and absl during a block.

    What TensorFlow's C++ code writes to the console does not pass through Python, and stays.
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
