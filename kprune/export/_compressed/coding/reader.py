"""Reads bytes from the front, and none beyond their end."""

import struct
from typing import Any

import numpy as np

from kprune._support.typing import Array


def damaged_error(finding: str) -> ValueError:
    """Returns the error for content that no encoder of kprune writes.

    Args:
        finding: what was found, as the begin of a sentence.
    """
    return ValueError(
        f"{finding}; expected content as kprune.export.save_compressed writes it. Copy the file "
        "again, or write kprune.export.save_compressed(model, path) where the model is."
    )


class ByteReader:
    """Reads content from the front, and raises ValueError instead of reading beyond its end.

    Args:
        content: what to read.

    Example:
        >>> bytes(ByteReader(b"abc").take(2))
        b'ab'
    """

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = memoryview(content)
        self._place = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self._content) - self._place

    def take(self, count: int) -> memoryview:
        """Returns the next bytes, without a copy."""
        if not 0 <= count <= self.left:
            raise damaged_error(f"{count} bytes are announced where {self.left} are left")
        self._place += count
        return self._content[self._place - count : self._place]

    def unpack(self, form: str) -> tuple[int, ...]:
        """Returns the next numbers, in a form of the module `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def array(self, dtype: Any, count: int) -> Array:
        """Returns the next values, without a copy."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def end(self) -> None:
        """Raises ValueError if bytes are left."""
        if self.left:
            raise damaged_error(f"{self.left} bytes are left over")
