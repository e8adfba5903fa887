"""Writes a Keras model as one small file, bit for bit, and reads it again."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras

from kprune._keras import models
from kprune._support import signatures, validation
from kprune.export import _frame, _verification
from kprune.export._compressed import archive, coding, container, serialization, verification
from kprune.export._compressed.report import CompressedReport, CompressedTensor
from kprune.export._reading import config_check

__all__ = ["CompressedReport", "CompressedTensor", "load_compressed", "save_compressed"]

LIMIT = 1 << 31  # bytes


@signatures.explained
def save_compressed(model: keras.Model, path: str | os.PathLike[str]) -> CompressedReport:
    """Writes a model as one file in which zeros and shared values cost next to nothing.

    Use it to store or to send a pruned model, all the more one whose weights are shared
    (`kprune.training.share_weights`): `load_compressed` gives back the same model, every weight to
    the last bit. It holds the architecture, the weights, how the model was compiled and
    what its layers keep beside weights, such as vocabularies, as a `.keras` file does, but not the
    optimizer's state. Before it appears the file is decoded, compared with the model, and loaded.
    A wrapped model is written without masks and stays wrapped. It is a format for storage: in
    memory the model is as large as ever, and TFLite files are written by `to_tflite`.

    Args:
        model: a built Keras model, wrapped or plain; any that `model.save` can write.
        path: the file. Missing parents are made.

    Returns:
        Each tensor's form and size.

    Raises:
        TypeError: the model is not a Keras 3 model, or a layer stores something other than numbers.
        ValueError: the model is not built, or the path is empty.
        OSError: nothing can be written there.
        ExportError: the file does not give the model back. What was at `path` is still there.

    Example:
        >>> report = kprune.export.save_compressed(model, "savedmodels/lenet.kprune")
        >>> print(report)
        >>> model = kprune.export.load_compressed("savedmodels/lenet.kprune")

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """
    _frame.check_model(model)
    models.require_built(model, "kprune.export.save_compressed(model, path)")
    return _frame.export(model, path, _Compressed())


@signatures.explained
def load_compressed(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    limit_bytes: int = LIMIT,
) -> keras.Model:
    """Reads a model that `save_compressed` wrote.

    Every length in the file is checked, against the file and the limit, before anything is
    allocated for it; the checksum comes first of all. As with `keras.models.load_model`, the
    config says which layers are made: keep `safe_mode` for files that come from others. It lets
    a config name nothing but parts of models of Keras and KerasHub, and what you have registered.

    Args:
        path: the file.
        custom_objects: your own classes and functions by name: layers, losses, metrics and all
            else that the model was made or compiled with.
        compile: compile the model as it was, with a new optimizer.
        safe_mode: refuse a config that names code, such as lambdas or functions of other modules,
            or files beside this one.
        limit_bytes: the most that the file, the decoded tensors, the description of the model (16
            MB in any case), and its variables, as far as Keras declares them before it makes them,
            may each take. Reading takes a few times that.

    Returns:
        The model.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: the file is truncated, altered or of another kind, announces more than the
            limit, names what `safe_mode` refuses, or does not fit the model it describes.
        OSError: it cannot be read.

    Example:
        >>> report = kprune.export.save_compressed(model, "lenet.kprune")
        >>> model = kprune.export.load_compressed("lenet.kprune")
    """
    validation.require_file(path, "kprune.export.save_compressed(model, path)")
    validation.require_whole(limit_bytes, "limit_bytes", write=LIMIT)
    _frame.check_choices(compile=compile, safe_mode=safe_mode)
    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        raise TypeError(
            f"custom_objects={validation.describe_kind(custom_objects)}; expected a mapping from "
            'name to class or function. Write custom_objects={"MyLayer": MyLayer}.'
        )
    name = os.fspath(path)
    try:
        content = container.read_limited(path, limit_bytes)
        contents = serialization.deserialize(content, limit_bytes)
        config_check.name_optimizers(contents.config)
        used = contents.config if compile else {**contents.config, archive.COMPILE: None}
        config_check.check_config(used, custom_objects, safe_mode)
        config_check.check_size(used, limit_bytes, safe_mode)
        declared = archive.declared_bytes(contents.config, custom_objects, safe_mode)
        serialization.check_limit("the model's variables", declared, limit_bytes)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    try:
        return archive.repack(contents, custom_objects, compile, safe_mode)
    except Exception as error:  # whatever Keras, HDF5 or a class of the user's raises
        message = str(error).partition("\n")[0]
        raise ValueError(
            f"Keras cannot make the model of {name}: {type(error).__name__}: {message} Expected a "
            "config and weights that fit. Write load_compressed(path, custom_objects={...}) with "
            "your own classes and functions, or safe_mode=False where its source is to be trusted."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Compressed(_frame.Format[archive.Contents, list[coding.Encoded], int, CompressedReport]):
    """Exports to a compressed file."""

    def convert(self, model: keras.Model, paths: _frame.Paths) -> archive.Contents:
        """Returns what Keras saves of the model."""
        return archive.unpack(model)

    def encode(self, converted: archive.Contents, paths: _frame.Paths) -> list[coding.Encoded]:
        """Encodes each tensor and writes the file."""
        encoded = [coding.encode(tensor.array) for tensor in converted.tensors]
        paths.written.write_bytes(serialization.serialize(converted, encoded))
        return encoded

    def verify(
        self,
        model: keras.Model,
        converted: archive.Contents,
        encoded: list[coding.Encoded],
        paths: _frame.Paths,
    ) -> _verification.Difference:
        """Decodes the file and compares it with the model: no bit may differ."""
        verification.verify(model, converted, paths.written.read_bytes())
        return _verification.Difference(largest=0.0, scale=0.0)

    def measure(
        self, converted: archive.Contents, encoded: list[coding.Encoded], paths: _frame.Paths
    ) -> int:
        """Returns the bytes of the file."""
        return paths.written.stat().st_size

    def report(
        self,
        converted: archive.Contents,
        encoded: list[coding.Encoded],
        difference: _verification.Difference,
        measured: int,
        paths: _frame.Paths,
    ) -> CompressedReport:
        """Returns each tensor's form and size."""
        tensors = tuple(
            CompressedTensor(
                name=converted.path(tensor),
                shape=tensor.array.shape,
                kept=code.kept,
                distinct=code.distinct,
                form=code.form,
                bytes=len(code.content),
                dense_bytes=tensor.array.nbytes,
                fixed_bytes=-(-code.fixed_bits // 8),
            )
            for tensor, code in zip(converted.tensors, encoded, strict=True)
        )
        dense_bytes = sum(tensor.dense_bytes for tensor in tensors)
        return CompressedReport(paths.target, measured, dense_bytes, tensors)
