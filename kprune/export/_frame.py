"""Runs an export in five steps: convert, encode, verify, measure, report.

A file format is a subclass of `Format` that fills in the steps. What `encode` writes lies at a
temporary path until `verify` has accepted it, so that nothing wrong appears at the user's path.
"""

import abc
import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any, Generic, TypeVar

import keras
import numpy as np

from kprune._keras import models
from kprune._masking import wrapping
from kprune._support import files, validation
from kprune.export._verification import Difference, ExportError

Converted = TypeVar("Converted")
Encoded = TypeVar("Encoded")
Measured = TypeVar("Measured")
Report = TypeVar("Report")


@dataclasses.dataclass(frozen=True)
class Paths:
    """Where an export reads and writes.

    Args:
        target: where the result appears in the end; for reports and messages.
        written: where `encode` writes it.
        scratch: a directory for intermediate files, removed afterwards.
    """

    target: str
    written: Path
    scratch: Path


class Format(abc.ABC, Generic[Converted, Encoded, Measured, Report]):
    """A file format. An instance holds the arguments of one export."""

    marker: str | None = None  # for a directory, a file that every directory of its kind holds

    def borrow(self, model: keras.Model) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the model is as the format needs it. Default: as it is."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def convert(self, model: keras.Model, paths: Paths) -> Converted:
        """Converts the model, which is plain, without masks, to what the format starts from."""

    @abc.abstractmethod
    def encode(self, converted: Converted, paths: Paths) -> Encoded:
        """Writes the result to `paths.written`, or completes what `convert` has written there."""

    @abc.abstractmethod
    def verify(
        self, model: keras.Model, converted: Converted, encoded: Encoded, paths: Paths
    ) -> Difference:
        """Compares what was written with the model.

        Raises:
            ExportError: they do not agree.
        """

    @abc.abstractmethod
    def measure(self, converted: Converted, encoded: Encoded, paths: Paths) -> Measured:
        """Measures sizes, and times where the format has any."""

    @abc.abstractmethod
    def report(
        self,
        converted: Converted,
        encoded: Encoded,
        difference: Difference,
        measured: Measured,
        paths: Paths,
    ) -> Report:
        """Returns the report for the user."""


def export(
    model: Any,
    path: str | os.PathLike[str],
    form: Format[Converted, Encoded, Measured, Report],
) -> Report:
    """Writes a model to a path in a format, once it is verified.

    A wrapped model is exported without masks and is wrapped afterwards as before.

    Args:
        model: a built Keras model, wrapped or plain.
        path: where the result appears. What was there stays where an error is raised.
        form: the format, with the arguments of this export.

    Raises:
        TypeError: the model is not a Keras 3 model.
        ValueError: the path is empty.
        OSError: nothing can be written there.
        ExportError: a weight is infinite or not a number, the model cannot be exported, or what was
            written does not agree with it.
    """
    check_model(model)
    check_path(path)
    check_weights(model)
    with (
        files.replacing(path, form.marker) as written,
        tempfile.TemporaryDirectory() as scratch,
        wrapping.stripped(model) as plain,
        form.borrow(plain),
    ):
        paths = Paths(os.fspath(path), written, Path(scratch))
        converted = form.convert(plain, paths)
        encoded = form.encode(converted, paths)
        difference = form.verify(plain, converted, encoded, paths)
        measured = form.measure(converted, encoded, paths)
        return form.report(converted, encoded, difference, measured, paths)


def check_model(model: Any) -> None:
    """Raises TypeError if an object is not a Keras 3 model."""
    if isinstance(model, keras.layers.Layer) and not isinstance(model, keras.Model):
        raise TypeError(
            f"Got the layer {model.name}; expected a keras.Model of Keras 3. "
            "Write keras.Sequential([keras.Input(shape), layer]) around a layer."
        )
    models.require_model(model, "kprune.export.to_tflite(model, path)")


def check_path(path: Any) -> None:
    """Raises TypeError or ValueError if a value is not the path of a file or directory."""
    validation.require_path(path, 'path="models/pruned"')


def check_choices(**flags: Any) -> None:
    """Raises TypeError if an argument that is true or false is something else."""
    for name, value in flags.items():
        validation.require_flag(value, name)


def check_weights(model: keras.Model) -> None:
    """Raises ExportError if a weight of a model is infinite or not a number.

    Such a model computes nothing that could be compared, as after a training that diverged.
    """
    for variable in model.weights:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        finite = np.isfinite(np.asarray(variable))
        if not finite.all():
            count = finite.size - int(np.count_nonzero(finite))
            raise ExportError(
                f"{count:,} of the {finite.size:,} values of {variable.path} are infinite or not a "
                "number; expected finite weights, since nothing else can be verified. Did the "
                "training diverge? Write model.load_weights(path) with weights from before."
            )


def check_batch_size(batch_size: Any, call: str) -> None:
    """Raises ValueError if a batch size is neither None nor a positive whole number.

    Args:
        batch_size: what the user gave.
        call: the call to write, for the message.
    """
    whole = validation.is_whole(batch_size)
    if batch_size is not None and not (whole and batch_size >= 1):
        raise ValueError(
            f"batch_size={validation.describe(batch_size)}; expected a number of examples from 1, "
            f"or None for a free batch. Write {call}."
        )
