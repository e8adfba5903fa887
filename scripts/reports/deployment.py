"""Writes a model in every format, reads each file back, and evaluates it on the test images."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import kprune
from data.images import Array, Images, accuracy
from kprune._support import files


@dataclasses.dataclass(frozen=True)
class File:
    """The name, the format, the size and the accuracy of a file or directory that holds a model.

    Args:
        name: relative to the output directory.
        format: "keras", "saved_model", or "tflite" with its quantization.
        bytes: on the disk.
        gzip_bytes: after gzip.
        accuracy: on the test images, computed by the runtime of the format.
    """

    name: str
    format: str
    bytes: int
    gzip_bytes: int
    accuracy: float


def write(
    model: keras.Model,
    directory: Path,
    stem: str,
    images: Images,
    quantizations: Sequence[str],
    sparse: bool,
) -> list[File]:
    """Writes a plain model in every format, reads each file back, and evaluates it.

    Args:
        model: without masks; zeros are where it was pruned.
        directory: where the files go. A file of the same name is replaced.
        stem: of the names.
        images: the training images calibrate "int8"; all are evaluated on the test images.
        quantizations: of the TFLite files: "none", "float16", "dynamic", "int8".
        sparse: whether TFLite files store zeros sparsely.

    Example:
        >>> write(model, Path("savedmodels"), "pruned", images, ["none"], True)[-1].bytes
        25300
    """
    written = [_keras(model, directory / f"{stem}.keras", images)]
    written.append(_saved_model(model, directory / stem, images))
    for each in quantizations:
        end = "" if each == "none" else f"-{each}"
        written.append(_tflite(model, directory / f"{stem}{end}.tflite", images, each, sparse))
    return written


def save(model: keras.Model, path: Path) -> None:
    """Writes a `.keras` file without the optimizer's state, whole or not at all."""
    with files.replacing(path) as temporary:
        copy(model).save(temporary)


def copy(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers, dropout rates and weights, not compiled."""
    new = type(model).from_config(model.get_config())  # clone_model would compile it too
    new.set_weights(model.get_weights())
    return new


def _keras(model: keras.Model, path: Path, images: Images) -> File:
    save(model, path)
    return _file(path, "keras", keras.saving.load_model(path, compile=False), images)


def _saved_model(model: keras.Model, path: Path, images: Images) -> File:
    kprune.export.to_saved_model(model, path)
    loaded = tf.saved_model.load(str(path))  # its functions do not keep its variables alive
    return _file(path, "saved_model", lambda x: loaded.serve(x), images)


def _tflite(
    model: keras.Model, path: Path, images: Images, quantization: str, sparse: bool
) -> File:
    kprune.export.to_tflite(
        model,
        path,
        None if quantization == "none" else quantization,
        images.train[0],
        sparse=sparse,
        timing_seconds=0,
    )
    return _file(path, f"tflite {quantization}", _interpreter(path), images)


def _interpreter(path: Path) -> Callable[[Array], Array]:
    """Returns a function that classifies images with a .tflite file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class announces its move to LiteRT
        runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    (name,) = runner.get_input_details()
    (output,) = runner.get_output_details()
    return lambda x: runner(**{name: x})[output]


def _file(path: Path, format: str, classify: Callable[[Array], Any], images: Images) -> File:
    size = files.sizes(path)
    found = accuracy(classify, images.test)
    return File(path.name, format, size.bytes, size.gzip_bytes, found)
