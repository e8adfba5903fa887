"""A file of named sections: versioned, checksummed, and checked before anything is allocated.

    6 bytes   magic
    2         version
    8         length of the whole file
    8         length of the directory, compressed by zlib
    8         length of the directory, as it is: JSON
              the directory
              the sections, one after another
    4         CRC-32 of all before

All numbers are little-endian. The directory tells the length of every section.
"""

import json
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kprune.export import _coding

MAGIC = b"kprune"
VERSION = 1
HEAD = "<6sHQQQ"
CHECK = "<I"
EXPANSION = 1032  # times that zlib can expand at most, by its format


def pack(directory: dict[str, Any], sections: Sequence[bytes]) -> bytes:
    """Returns the content of a file.

    Args:
        directory: ready for JSON. The lengths of the sections stand beside it.
        sections: the rest, in order.

    Example:
        >>> content = pack({"name": "lenet"}, [b"weights"])
        >>> directory, (section,) = unpack(content, limit_bytes=100)
        >>> directory["name"], bytes(section)
        ('lenet', b'weights')
    """
    whole = {"lengths": [len(section) for section in sections], **directory}
    plain = json.dumps(whole, separators=(",", ":")).encode()
    packed = zlib.compress(plain, 9)
    length = struct.calcsize(HEAD) + len(packed) + sum(whole["lengths"]) + struct.calcsize(CHECK)
    head = struct.pack(HEAD, MAGIC, VERSION, length, len(packed), len(plain))
    content = b"".join([head, packed, *sections])
    return content + struct.pack(CHECK, zlib.crc32(content))


def unpack(content: bytes, limit_bytes: int) -> tuple[dict[str, Any], list[memoryview]]:
    """Returns the directory and the sections of a file's content.

    Args:
        content: of the whole file.
        limit_bytes: what the directory may take at most.

    Raises:
        ValueError: the content is truncated, altered, of another kind or a later version, or
            larger than the limit.
    """
    if content[: len(MAGIC)] != MAGIC:
        raise _coding.damaged(f"the file begins with {content[: len(MAGIC)]!r}, not with {MAGIC!r}")
    source = _coding.Reader(content)
    _, version, length, packed, plain = source.unpack(HEAD)
    if length != len(content):
        raise _coding.damaged(f"the file has {len(content)} bytes of {length}")
    checked = length - struct.calcsize(CHECK)
    if struct.unpack(CHECK, content[checked:])[0] != zlib.crc32(memoryview(content)[:checked]):
        raise _coding.damaged("the checksum does not match: the file was altered")
    if version != VERSION:
        raise ValueError(
            f"the file has version {version}; expected {VERSION}. Update kprune: "
            "pip install --upgrade kprune."
        )
    if plain > min(limit_bytes, EXPANSION * packed):
        raise _coding.damaged(f"a directory of {plain} bytes is announced in {packed}")
    directory = _directory(source.take(packed), plain)
    lengths = directory.get("lengths")
    if not isinstance(lengths, list) or not all(type(each) is int for each in lengths):
        raise _coding.damaged("the directory has no lengths of sections")
    sections = [source.take(each) for each in lengths]
    if source.left != struct.calcsize(CHECK):
        raise _coding.damaged(f"{source.left - struct.calcsize(CHECK)} bytes are left over")
    return directory, sections


def read(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """Returns the content of a file that is no larger than a limit.

    Raises:
        ValueError: the file is larger.
        OSError: it cannot be read.
    """
    size = Path(path).stat().st_size
    if size > limit_bytes:
        raise ValueError(
            f"the file has {size:,} bytes; expected {limit_bytes:,} at most. "
            f"Write limit_bytes={size} where its source is to be trusted."
        )
    return Path(path).read_bytes()


def _directory(packed: memoryview, plain: int) -> dict[str, Any]:
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(packed, plain + 1)  # one more, to see that it ends
        directory = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise _coding.damaged(f"the directory cannot be read ({error})") from error
    if len(text) != plain or not unpacking.eof or not isinstance(directory, dict):
        raise _coding.damaged("the directory is not what is announced")
    return directory
