"""Turns the contents of a model into the bytes of a compressed file, and back."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kprune.export._compressed import archive, coding, container

MAX_NAME = 4096  # characters of a name in a file

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
        assets = {_parse_name(name): _parse_count(size) for name, size in directory["assets"]}
        tensors: dict[str, tuple[np.dtype[Any], str, Shape]] = {
            _parse_name(name): (np.dtype(kind), str(dtype), tuple(map(_parse_count, shape)))
            for name, kind, dtype, shape in directory["tensors"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise coding.damaged_error(
            f"the directory has not the parts of a model ({error})"
        ) from error
    if len(assets) + len(tensors) != len(sections):
        raise coding.damaged_error(
            f"{len(assets) + len(tensors)} names are for {len(sections)} sections"
        )
    if not all(coding.is_codable(kind) for kind, _, _ in tensors.values()):
        raise coding.damaged_error("a tensor holds something other than numbers")
    if any(not name.startswith("assets/") or ".." in name for name in assets):
        raise coding.damaged_error("an asset lies outside the model")
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


def _parse_name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError(f"{str(value)[:20]!r}... is not a name")
    return value


def _parse_count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _decompress(section: memoryview, size: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(section, size + 1)  # one more, to see that it ends
    except zlib.error as error:
        raise coding.damaged_error(f"an asset cannot be read ({error})") from error
    if len(content) != size or not decompressor.eof:
        raise coding.damaged_error("an asset is not as long as announced")
    return content
