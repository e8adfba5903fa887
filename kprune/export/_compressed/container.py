"""Packs sections of bytes and a directory into one file, and unpacks it with checks.

    6 bytes   magic
    2         version
    8         length of the whole file
    8         length of the directory, compressed by zlib
    8         length of the directory, uncompressed: JSON
              the directory
              the sections, one after another
    4         CRC-32 of all before

All numbers are little-endian. The directory has the length of every section. When a file is
unpacked, every number in it is checked before anything is allocated.
"""

import json
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kprune.export._compressed import coding
from kprune.export._reading import json_text

MAGIC = b"kprune"
VERSION = 1
HEAD = "<6sHQQQ"
CHECKSUM = "<I"
MAX_EXPANSION = 1032  # of zlib, by its format


def pack(directory: dict[str, Any], sections: Sequence[bytes]) -> bytes:
    """Returns the content of a file.

    Args:
        directory: a dict ready for JSON; the lengths of the sections are added to it.
        sections: the other contents, in order.

    Example:
        >>> content = pack({"name": "lenet"}, [b"weights"])
        >>> directory, (section,) = unpack(content, limit_bytes=100)
        >>> directory["name"], bytes(section)
        ('lenet', b'weights')
    """
    whole = {"lengths": [len(section) for section in sections], **directory}
    plain = json.dumps(whole, separators=(",", ":")).encode()
    packed = zlib.compress(plain, 9)
    length = struct.calcsize(HEAD) + len(packed) + sum(whole["lengths"]) + struct.calcsize(CHECKSUM)
    head = struct.pack(HEAD, MAGIC, VERSION, length, len(packed), len(plain))
    content = b"".join([head, packed, *sections])
    return content + struct.pack(CHECKSUM, zlib.crc32(content))


def unpack(content: bytes, limit_bytes: int) -> tuple[dict[str, Any], list[memoryview]]:
    """Returns the directory and the sections of a file's content.

    Args:
        content: the whole file.
        limit_bytes: the most that the directory, and what Python makes of it, may take; at least
            16 MB.

    Raises:
        ValueError: the content is truncated, altered, of another kind or a later version, or
            larger than the limit.
    """
    if content[: len(MAGIC)] != MAGIC:
        raise coding.damaged_error(
            f"the file begins with {content[: len(MAGIC)]!r}, not with {MAGIC!r}"
        )
    source = coding.ByteReader(content)
    _, version, length, packed, plain = source.unpack(HEAD)
    if length != len(content):
        raise coding.damaged_error(f"the file has {len(content)} bytes of {length}")
    checked = length - struct.calcsize(CHECKSUM)
    if struct.unpack(CHECKSUM, content[checked:])[0] != zlib.crc32(memoryview(content)[:checked]):
        raise coding.damaged_error("the checksum does not match: the file was altered")
    if version != VERSION:
        raise ValueError(
            f"the file has version {version}; expected {VERSION}. Update kprune: "
            "pip install --upgrade kprune."
        )
    if plain > min(max(limit_bytes, json_text.LEAST_LIMIT), MAX_EXPANSION * packed):
        raise coding.damaged_error(f"a directory of {plain} bytes is announced in {packed}")
    directory = _parse_directory(source.take(packed), plain, limit_bytes)
    lengths = directory.get("lengths")
    if not isinstance(lengths, list) or not all(type(length) is int for length in lengths):
        raise coding.damaged_error("the directory has no lengths of sections")
    sections = [source.take(length) for length in lengths]
    if source.left != struct.calcsize(CHECKSUM):
        raise coding.damaged_error(f"{source.left - struct.calcsize(CHECKSUM)} bytes are left over")
    return directory, sections


def read_limited(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """Returns the content of a file that is no larger than a limit.

    Raises:
        ValueError: the file is larger than the limit.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit_bytes:
            raise ValueError(
                f"the file has {size:,} bytes; expected {limit_bytes:,} at most. "
                f"Write limit_bytes={size} where its source is to be trusted."
            )
        content = file.read(size + 1)
    if len(content) > size:
        raise ValueError(
            f"it gives more than the {size:,} bytes that it is said to have; expected a file that "
            "nobody writes to, no pipe or device. Copy it to a file."
        )
    return content


def _parse_directory(packed: memoryview, plain: int, limit_bytes: int) -> dict[str, Any]:
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(packed, plain + 1)  # one byte more, to see that it ends
    except zlib.error as error:
        raise coding.damaged_error(f"the directory cannot be read ({error})") from error
    if len(text) != plain or not decompressor.eof or decompressor.unused_data:
        raise coding.damaged_error("the directory is not as long as announced")
    try:
        return json_text.parse_object(text, limit_bytes)
    except ValueError as error:
        raise coding.damaged_error(f"the directory cannot be read ({error})") from error
