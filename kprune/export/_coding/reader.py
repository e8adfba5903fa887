"""Bytes read from the front, none beyond their end."""

import struct
from typing import Any

import numpy as np

from kprune._support.typing import Array


def damaged(what: str) -> ValueError:
    """Returns the error for content that no encoder of kprune writes.

    Args:
        what: was found, as the begin of a sentence.
    """
    return ValueError(
        f"{what}; expected content as kprune.export.save_compressed writes it. Copy the file "
        "again, or write kprune.export.save_compressed(model, path) where the model is."
    )


class Reader:
    """Reads content from the front; a length that it does not have is an error, not an allocation.

    Args:
        content: all there is.

    Example:
        >>> bytes(Reader(b"abc").take(2))
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
            raise damaged(f"{count} bytes are announced where {self.left} are left")
        self._place += count
        return self._content[self._place - count : self._place]

    def unpack(self, form: str) -> tuple[int, ...]:
        """Returns the next numbers, in a form of the module `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def array(self, dtype: Any, count: int) -> Array:
        """Returns the next values, without a copy."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)

    def end(self) -> None:
        """Raises where something is left."""
        if self.left:
            raise damaged(f"{self.left} bytes are left over")
