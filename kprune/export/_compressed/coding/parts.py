"""Writes and reads the parts of an encoded array: its values, and their places.

Each part counts its bits before it is written, so that the shortest form can be chosen.
"""

import abc
import dataclasses
import functools
import struct
from typing import Any

import numpy as np

from kprune._support.typing import Array
from kprune.export._compressed.coding import gaps, huffman, reader


class Part(abc.ABC):
    """A piece of an array's content. Subclasses have a static `read` for what `content` gives."""

    @property
    @abc.abstractmethod
    def bits(self) -> int:
        """The bits that the part takes."""

    @property
    @abc.abstractmethod
    def fixed_bits(self) -> int:
        """The bits with codes of one length in place of Huffman's."""

    @abc.abstractmethod
    def content(self) -> bytes:
        """Returns the bytes of the part."""


@dataclasses.dataclass(frozen=True, eq=False)
class Raw(Part):
    """Stores values uncompressed.

    Args:
        values: unsigned integers [n].
    """

    values: Array

    @property
    def bits(self) -> int:
        """The bits that the part takes."""
        return 8 * self.values.nbytes

    fixed_bits = bits

    def content(self) -> bytes:
        """Returns the values as bytes."""
        return self.values.tobytes()

    @staticmethod
    def read(source: reader.ByteReader, dtype: Any, count: int) -> Array:
        """Returns the values."""
        return source.array(dtype, count)


@dataclasses.dataclass(frozen=True, eq=False)
class Coded(Part):
    """Stores values as Huffman codes of their places in a codebook.

    Args:
        book: the different values [k], unsigned integers.
        codes: the place of each value in the book [n].
    """

    book: Array
    codes: Array

    @functools.cached_property
    def bits(self) -> int:
        """The bits that the part takes."""
        return 16 + 8 * self.book.nbytes + huffman.count_bits(np.bincount(self.codes))

    @property
    def fixed_bits(self) -> int:
        """The bits with codes of `ceil(log2 k)` bits."""
        return 16 + 8 * self.book.nbytes + len(self.codes) * max(1, len(self.book) - 1).bit_length()

    def content(self) -> bytes:
        """Returns the number of values in the codebook, the codebook, and the codes."""
        head = struct.pack("<H", len(self.book)) + self.book.tobytes()
        return head + huffman.encode(self.codes)

    @staticmethod
    def read(source: reader.ByteReader, dtype: Any, count: int) -> Array:
        """Returns the values."""
        book = source.array(dtype, source.unpack("<H")[0])
        codes = huffman.decode(source, count)
        if len(codes) != count or (count and codes.max() >= len(book)):
            raise reader.damaged_error(
                f"{len(codes)} codes, of {len(book)} kinds, for {count} values"
            )
        return book[codes]


@dataclasses.dataclass(frozen=True, eq=False)
class Places(Part):
    """Stores the places of nonzero values as Huffman codes of the gaps between them.

    Args:
        where: places in the flat array [m], ascending.
    """

    where: Array

    @functools.cached_property
    def gaps(self) -> Array:
        """How many zeros are before each nonzero value."""
        return gaps.count_gaps(self.where)

    @functools.cached_property
    def width(self) -> int:
        """The bits of a gap."""
        return gaps.choose_bits(self.gaps)

    @functools.cached_property
    def bits(self) -> int:
        """The bits that the part takes."""
        return 8 + huffman.count_bits(gaps.count_symbols(self.gaps, self.width))

    @property
    def fixed_bits(self) -> int:
        """The bits with gaps, and fillers, of one width."""
        return 8 + self.width * int(gaps.count_symbols(self.gaps, self.width).sum())

    def content(self) -> bytes:
        """Returns the width of a gap, and the gaps."""
        return bytes([self.width]) + huffman.encode(gaps.to_symbols(self.gaps, self.width))

    @staticmethod
    def read(source: reader.ByteReader, size: int) -> Array:
        """Returns the places in an array of a given size."""
        width = source.unpack("<B")[0]
        if width not in gaps.BITS:
            raise reader.damaged_error(f"gaps have {width} bits")
        return gaps.to_places(huffman.decode(source, size), width, size)
