"""A Keras model as one small file: Huffman codes of gaps and of shared values, bit for bit."""

import math
import os
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kprune._keras import private
from kprune._masking import wrapping
from kprune._support import files
from kprune.export import (
    _coding,
    _variable_paths,
    archive,
    compressed_report,
    container,
    saved_model,
    verification,
)

LIMIT = 1 << 31  # bytes

Shape = tuple[int, ...]


def save_compressed(model: Any, path: str | os.PathLike[str]) -> compressed_report.CompressedReport:
    """Writes a model as one file in which zeros and shared values cost next to nothing.

    Use it to store or to send a pruned model, all the more one whose weights are shared
    (`kprune.training.share_weights`): `load_compressed` gives back the same model, every weight to
    the last bit. It holds the architecture, the weights, how the model was compiled and what its
    layers keep beside weights, such as vocabularies, as a `.keras` file does; not the optimizer's
    state. A wrapped model is written without masks and stays wrapped. It is a format for storage:
    in memory the model is as large as ever, and TFLite files are written by `to_tflite`.

    Args:
        model: a built Keras model, wrapped or plain; any that `model.save` can write.
        path: the file. Missing parents are made.

    Returns:
        Each tensor's form and size.

    Raises:
        TypeError: the model is no Keras 3 model, or a layer stores something other than numbers.
        ValueError: the path is empty.
        OSError: nothing can be written there.
        ExportError: what would be written does not decode to the model, bit for bit. What was at
            `path` is still there.

    Example:
        >>> report = kprune.export.save_compressed(model, "savedmodels/lenet.kprune")
        >>> print(report)
        >>> model = kprune.export.load_compressed("savedmodels/lenet.kprune")

    Reference:
        Han, Mao and Dally, Deep Compression, 2016.
    """
    saved_model.check(model)
    with files.replacing(path) as temporary:
        with wrapping.stripped(model) as plain:
            contents = archive.take_apart(plain)
        encoded = [_coding.encode(each.array) for each in contents.tensors]
        directory = {
            "config": contents.config,
            "assets": [[name, len(asset)] for name, asset in contents.assets.items()],
            "tensors": [
                [each.name, each.array.dtype.str, each.meaning, each.array.shape]
                for each in contents.tensors
            ],
        }
        assets = [zlib.compress(asset, 9) for asset in contents.assets.values()]
        content = container.pack(directory, [*assets, *(each.content for each in encoded)])
        _verify(content, contents)
        temporary.write_bytes(content)
    names = [tensor.name for tensor in contents.tensors]
    arrays = [tensor.array for tensor in contents.tensors]
    tensors = tuple(
        compressed_report.CompressedTensor(
            name=path,
            shape=tensor.array.shape,
            kept=each.kept,
            distinct=each.distinct,
            form=each.form,
            bytes=len(each.content),
            dense_bytes=tensor.array.nbytes,
            fixed_bytes=-(-each.fixed_bits // 8),
        )
        for path, tensor, each in zip(
            _variable_paths.paths_in_files(names, model, arrays),
            contents.tensors,
            encoded,
            strict=True,
        )
    )
    dense_bytes = sum(each.dense_bytes for each in tensors)
    return compressed_report.CompressedReport(os.fspath(path), len(content), dense_bytes, tensors)


def load_compressed(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    limit_bytes: int = LIMIT,
) -> Any:
    """Reads a model that `save_compressed` wrote.

    Every length in the file is checked, against the file and the limit, before anything is
    allocated for it; the checksum comes first of all. As with `keras.models.load_model`, the
    config says which layers are made: keep `safe_mode` for files that come from others.

    Args:
        path: the file.
        custom_objects: classes and functions of one's own, by name.
        compile: compile the model as it was, with a new optimizer.
        safe_mode: refuse what would run code of the file, such as lambdas.
        limit_bytes: what the file, the decoded tensors, and the variables of the model, as far as
            Keras names them before it makes them, may each take at most. Reading takes a few
            times that.

    Returns:
        The model.

    Raises:
        ValueError: the file is truncated, altered or of another kind, announces more than the
            limit, or does not fit the model it describes.
        OSError: it cannot be read.

    Example:
        >>> report = kprune.export.save_compressed(model, "lenet.kprune")
        >>> model = kprune.export.load_compressed("lenet.kprune")
    """
    try:
        content = container.read(path, limit_bytes)
        contents = _contents(*container.unpack(content, limit_bytes), limit_bytes)
        declared = archive.declared_bytes(contents.config, custom_objects, safe_mode)
        _check_limit("the model's variables", declared, limit_bytes)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    try:
        model = archive.put_together(contents, custom_objects, safe_mode)
        if compile and contents.config.get(archive.COMPILE):
            config = contents.config[archive.COMPILE]
            private.compile_from_config(model, config, custom_objects, safe_mode)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        words = str(error).partition("\n")[0]
        raise ValueError(
            f"Keras cannot make the model of {os.fspath(path)}: {words} Expected a config and "
            "weights that fit. Write load_compressed(path, custom_objects={...}) with the classes "
            "and functions of your own, compile=False where only the loss or a metric is missing, "
            "or safe_mode=False where its source is to be trusted."
        ) from error
    return model


def _verify(content: bytes, contents: archive.Contents) -> None:
    """Raises ExportError where the bytes of a file do not decode to what they were made of."""
    try:
        decoded = _contents(*container.unpack(content, sys.maxsize), sys.maxsize)
    except ValueError as error:
        raise verification.ExportError(
            f"the compressed file cannot be read again ({error}), so it was not written. "
            'Write model.save("model.keras") in its place, and report this.'
        ) from error
    for ours, theirs in zip(decoded.tensors, contents.tensors, strict=True):
        same = (ours.name, ours.meaning, ours.array.dtype) == (
            theirs.name,
            theirs.meaning,
            theirs.array.dtype,
        )
        if not same or ours.array.tobytes() != theirs.array.tobytes():
            raise verification.ExportError(
                f"{theirs.name} does not decode to its own values, so the compressed file was not "
                'written. Write model.save("model.keras") in its place, and report this.'
            )
    if decoded.assets != contents.assets or decoded.config != contents.config:
        raise verification.ExportError(
            "the config or the assets of the compressed file differ from the model's, so it was "
            'not written. Write model.save("model.keras") in its place, and report this.'
        )


def _contents(
    directory: dict[str, Any], sections: list[memoryview], limit_bytes: int
) -> archive.Contents:
    """Decodes the sections, once it is known that all they announce is within the limit."""
    try:
        config = dict(directory["config"])
        assets = {str(name): _count(size) for name, size in directory["assets"]}
        tensors: dict[str, tuple[np.dtype[Any], str, Shape]] = {
            str(name): (np.dtype(kind), str(meaning), tuple(map(_count, shape)))
            for name, kind, meaning, shape in directory["tensors"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _coding.damaged(f"the directory has not the parts of a model ({error})") from error
    if len(assets) + len(tensors) != len(sections):
        raise _coding.damaged(
            f"{len(assets) + len(tensors)} names are for {len(sections)} sections"
        )
    if not all(_coding.codable(kind) for kind, _, _ in tensors.values()):
        raise _coding.damaged("a tensor holds something other than numbers")
    if any(not name.startswith("assets/") or ".." in name for name in assets):
        raise _coding.damaged("an asset lies outside the model")
    declared = sum(kind.itemsize * math.prod(shape) for kind, _, shape in tensors.values())
    _check_limit("the tensors", declared + sum(assets.values()), limit_bytes)
    first = iter(sections)
    return archive.Contents(
        config,
        {name: _inflated(next(first), size) for name, size in assets.items()},
        [
            archive.Tensor(name, meaning, _coding.decode(next(first), kind, shape))
            for name, (kind, meaning, shape) in tensors.items()
        ],
    )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _check_limit(what: str, size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise ValueError(
            f"{what} would take {size:,} bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={size} where the file's source is to be trusted."
        )


def _inflated(section: memoryview, size: int) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(section, size + 1)
    except zlib.error as error:
        raise _coding.damaged(f"an asset cannot be read ({error})") from error
    if len(content) != size or not unpacking.eof:
        raise _coding.damaged("an asset is not as long as announced")
    return content
