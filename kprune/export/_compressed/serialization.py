"""Turns the contents of a model into the bytes of a compressed file, and back."""

import math
import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kprune.export._compressed import archive, coding, container
from kprune.export._reading import json_text

MAX_PARTS, MAX_PART = 64, 255  # of a path in a file: how many, and bytes of one
MAX_RANK = 32
KIND = re.compile(r"[<>|]?[biufV][1248]")  # of NumPy's types, as `dtype.str` has them
MARKED = ("", "bfloat16", "float8_e4m3fn", "float8_e5m2")  # what Keras notes beside stored bits
# Bytes that Python and HDF5 take for a tensor with no values, and for a part of its path.
TENSOR_BYTES, PART_BYTES = 1 << 12, 1 << 10

Shape = tuple[int, ...]


def serialize(contents: archive.Contents, encoded: Sequence[coding.Encoded]) -> bytes:
    """Returns the content of a file.

    Args:
        contents: what the file is to hold.
        encoded: the tensors of it, encoded, in the same order.
    """
    directory = {
        "config": contents.config,
        "assets": [[name, len(asset)] for name, asset in contents.assets.items()],
        "tensors": [
            [tensor.name, tensor.array.dtype.str, tensor.dtype, tensor.array.shape]
            for tensor in contents.tensors
        ],
    }
    assets = [zlib.compress(asset, 9) for asset in contents.assets.values()]
    return container.pack(directory, [*assets, *(each.content for each in encoded)])


def deserialize(content: bytes, limit_bytes: int) -> archive.Contents:
    """Returns what a file holds.

    Nothing is decoded before all that the file announces is known to be within the limit.

    Args:
        content: the whole file.
        limit_bytes: the most that its directory, and its decoded tensors and assets, may take.

    Raises:
        ValueError: the content is damaged, or announces more than the limit.
    """
    directory, sections = container.unpack(content, limit_bytes)
    try:
        config = dict(directory["config"])
        assets = {_parse_path(name): _parse_count(size) for name, size in directory["assets"]}
        tensors = {
            _parse_path(name): (_parse_kind(kind), _parse_mark(mark), _parse_shape(shape))
            for name, kind, mark, shape in directory["tensors"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise coding.damaged_error(
            f"the directory has not the parts of a model ({error})"
        ) from error
    if len(assets) + len(tensors) != len(sections):
        raise coding.damaged_error(
            f"{len(assets) + len(tensors)} names are for {len(sections)} sections"
        )
    if any(not name.startswith("assets/") for name in assets):
        raise coding.damaged_error("an asset lies outside the model")
    parts = sum(name.count("/") + 1 for name in [*tensors, *assets])
    objects = TENSOR_BYTES * len(sections) + PART_BYTES * parts
    check_limit("the list of tensors", objects, max(limit_bytes, json_text.LEAST_LIMIT))
    declared = sum(kind.itemsize * math.prod(shape) for kind, _, shape in tensors.values())
    check_limit("the tensors", declared + sum(assets.values()), limit_bytes)
    return archive.Contents(
        config,
        {
            name: _decompress(section, size)
            for (name, size), section in zip(assets.items(), sections, strict=False)
        },
        [
            archive.StoredTensor(name, dtype, coding.decode(section, kind, shape))
            for (name, (kind, dtype, shape)), section in zip(
                tensors.items(), sections[len(assets) :], strict=True
            )
        ],
    )


def check_limit(name: str, size: int, limit_bytes: int) -> None:
    """Raises ValueError if a part of a model is larger than the limit."""
    if size > limit_bytes:
        raise ValueError(
            f"{name} would take {size:,} bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={size} where the file's source is to be trusted."
        )


def _parse_path(value: Any) -> str:
    """Returns the name of a tensor or an asset, if it is a path below the model."""
    parts = value.split("/") if isinstance(value, str) else []
    if not 1 <= len(parts) <= MAX_PARTS or any(
        part in ("", ".", "..") or not part.isprintable() or len(part.encode()) > MAX_PART
        for part in parts
    ):
        raise ValueError(f"{str(value)[:20]!r}... is not a name")
    if "\\" in value or ":" in parts[0]:
        raise ValueError(f"{value[:20]!r}... is not a name on every system")
    return str(value)


def _parse_kind(value: Any) -> np.dtype[Any]:
    if not isinstance(value, str) or not KIND.fullmatch(value):
        raise ValueError(f"{str(value)[:20]!r} is not a type of numbers")
    return np.dtype(value)


def _parse_mark(value: Any) -> str:
    if value not in MARKED:
        raise ValueError(f"{str(value)[:20]!r} is not a type that Keras marks")
    return str(value)


def _parse_shape(value: Any) -> Shape:
    if not isinstance(value, list) or len(value) > MAX_RANK:
        raise ValueError(f"{str(value)[:20]!r} is not a shape")
    return tuple(map(_parse_count, value))


def _parse_count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is not a count")
    return value


def _decompress(section: memoryview, size: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(section, size + 1)  # one more, to see that it ends
    except zlib.error as error:
        raise coding.damaged_error(f"an asset cannot be read ({error})") from error
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise coding.damaged_error("an asset is not as long as announced")
    return content
