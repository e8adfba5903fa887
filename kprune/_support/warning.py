"""Warns the user, at the line of theirs that led there."""

import contextlib
import inspect
import os
import warnings

import keras

# Code between the user's line and the cause: of kprune, Keras, `with` blocks and imports.
BETWEEN = (
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    os.path.dirname(keras.__file__) + os.sep,
    contextlib.__file__,
    "<frozen importlib",
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns, and names the innermost line that is not of kprune or Keras.

    Args:
        message: what came, and the line to write.
        category: the class of the warning.
    """
    frame = inspect.currentframe()
    if frame is None:  # an interpreter without frames
        warnings.warn(message, category, stacklevel=2)
        return
    while frame.f_back is not None and frame.f_code.co_filename.startswith(BETWEEN):
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
